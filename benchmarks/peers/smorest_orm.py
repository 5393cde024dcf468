"""flask-smorest: blueprints whose `arguments` and `response` are marshmallow schemas."""

from typing import Any

from flask import Flask
from flask_smorest import Api, Blueprint, abort
from marshmallow import Schema, fields, validate

from benchmarks.peers.flask_models import Taken, db, init_app, posts_after, save, users_after
from benchmarks.peers.tables import NAME_PATTERN, User, next_link

app = Flask(__name__)
app.json.sort_keys = False
app.config.update(API_TITLE="users and posts", API_VERSION="1", OPENAPI_VERSION="3.0.3")
init_app(app, threads=4)
blueprint = Blueprint("api", __name__, url_prefix="/api")

_username = [validate.Length(1, 80), validate.Regexp(NAME_PATTERN)]


class UserSchema(Schema):
    id = fields.Integer(dump_only=True)
    username = fields.String(required=True, validate=_username)
    email = fields.Email(required=True, validate=validate.Length(max=120))


class PostSchema(Schema):
    id = fields.Integer()
    title = fields.String()
    content = fields.String()
    user_id = fields.Integer()
    author = fields.Nested(UserSchema)


class PageSchema(Schema):
    limit = fields.Integer(load_default=100, validate=validate.Range(1, 100))
    cursor = fields.Integer(load_default=0, validate=validate.Range(0))


class LivenessSchema(Schema):
    status = fields.String()


@app.errorhandler(Taken)
def refuse_taken(_error: Taken) -> Any:
    return {"error": "Username or email already exists"}, 400


@blueprint.get("/health/live")
@blueprint.response(200, LivenessSchema)
def get_liveness() -> Any:
    return {"status": "ok"}


@blueprint.get("/users/<int:user_id>")
@blueprint.response(200, UserSchema)
def get_user(user_id: int) -> Any:
    return db.get_or_404(User, user_id)


@blueprint.get("/users")
@blueprint.arguments(PageSchema, location="query")
@blueprint.response(200, UserSchema(many=True))
def list_users(page: dict[str, int]) -> Any:
    users = users_after(page["cursor"], page["limit"])
    return users, _link("/api/users", page["limit"], users)


@blueprint.get("/posts")
@blueprint.arguments(PageSchema, location="query")
@blueprint.response(200, PostSchema(many=True))
def list_posts(page: dict[str, int]) -> Any:
    posts = posts_after(page["cursor"], page["limit"])
    return posts, _link("/api/posts", page["limit"], posts)


@blueprint.post("/users")
@blueprint.arguments(UserSchema)
@blueprint.response(201, UserSchema)
def create_user(values: dict[str, str]) -> Any:
    user = save(User(), values)
    return user, {"Location": f"/api/users/{user.id}"}


@blueprint.put("/users/<int:user_id>")
@blueprint.arguments(UserSchema(partial=True))
@blueprint.response(200, UserSchema)
def update_user(values: dict[str, str], user_id: int) -> Any:
    if not values:
        abort(400)
    return save(db.get_or_404(User, user_id), values)


def _link(path: str, limit: int, rows: list[Any]) -> dict[str, str]:
    return {"Link": next_link(path, limit, rows[-1].id)} if len(rows) == limit else {}


Api(app).register_blueprint(blueprint)
