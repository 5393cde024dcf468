"""Plain Flask: Flask-SQLAlchemy, marshmallow for checking and serialising, `jsonify`."""

from typing import Any

from flask import Flask, abort, jsonify, request
from marshmallow import Schema, ValidationError, fields, validate

from benchmarks.peers.flask_models import Taken, db, init_app, posts_after, save, users_after
from benchmarks.peers.tables import NAME_PATTERN, User, next_link

app = Flask(__name__)
app.json.sort_keys = False
init_app(app, threads=4)

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


user_schema, users_schema, posts_schema = UserSchema(), UserSchema(many=True), PostSchema(many=True)
changes_schema, page_schema = UserSchema(partial=True), PageSchema()


@app.errorhandler(ValidationError)
def refuse(error: ValidationError) -> Any:
    return jsonify(error=error.messages), 400


@app.errorhandler(Taken)
def refuse_taken(_error: Taken) -> Any:
    return jsonify(error="Username or email already exists"), 400


@app.get("/api/health/live")
def get_liveness() -> Any:
    return jsonify(status="ok")


@app.get("/api/users/<int:user_id>")
def get_user(user_id: int) -> Any:
    return jsonify(user_schema.dump(db.get_or_404(User, user_id)))


@app.get("/api/users")
def list_users() -> Any:
    page = page_schema.load(request.args)
    users = users_after(page["cursor"], page["limit"])
    return jsonify(users_schema.dump(users)), _link("/api/users", page["limit"], users)


@app.get("/api/posts")
def list_posts() -> Any:
    page = page_schema.load(request.args)
    posts = posts_after(page["cursor"], page["limit"])
    return jsonify(posts_schema.dump(posts)), _link("/api/posts", page["limit"], posts)


@app.post("/api/users")
def create_user() -> Any:
    user = save(User(), user_schema.load(request.get_json()))
    return jsonify(user_schema.dump(user)), 201, {"Location": f"/api/users/{user.id}"}


@app.put("/api/users/<int:user_id>")
def update_user(user_id: int) -> Any:
    changes = changes_schema.load(request.get_json())
    if not changes:
        abort(400)
    return jsonify(user_schema.dump(save(db.get_or_404(User, user_id), changes)))


def _link(path: str, limit: int, rows: list[Any]) -> dict[str, str]:
    return {"Link": next_link(path, limit, rows[-1].id)} if len(rows) == limit else {}
