"""Stock `connexion.FlaskApp`, as in its documentation: Connexion checks requests; handlers use ORM and marshmallow."""

from pathlib import Path
from typing import Any

import connexion
from marshmallow import fields
from marshmallow_sqlalchemy import SQLAlchemyAutoSchema

from benchmarks.peers.flask_models import Taken, db, init_app, posts_after, save, users_after
from benchmarks.peers.tables import Post, User, next_link


class UserSchema(SQLAlchemyAutoSchema):
    class Meta:
        model = User


class PostSchema(SQLAlchemyAutoSchema):
    class Meta:
        model = Post
        include_fk = True

    author = fields.Nested(UserSchema)


user_schema, users_schema, posts_schema = UserSchema(), UserSchema(many=True), PostSchema(many=True)


def get_liveness() -> Any:
    return {"status": "ok"}


def get_user(user_id: int) -> Any:
    user = db.session.get(User, user_id)
    if user is None:
        return {"error": "User not found"}, 404
    return user_schema.dump(user)


def list_users(limit: int, cursor: int) -> Any:
    users = users_after(cursor, limit)
    return users_schema.dump(users), 200, _link("/api/users", limit, users)


def list_posts(limit: int, cursor: int) -> Any:
    posts = posts_after(cursor, limit)
    return posts_schema.dump(posts), 200, _link("/api/posts", limit, posts)


def create_user(body: dict[str, str]) -> Any:
    try:
        user = save(User(), body)
    except Taken:
        return {"error": "Username or email already exists"}, 400
    return user_schema.dump(user), 201, {"Location": f"/api/users/{user.id}"}


def update_user(user_id: int, body: dict[str, str]) -> Any:
    user = db.session.get(User, user_id)
    if user is None:
        return {"error": "User not found"}, 404
    try:
        return user_schema.dump(save(user, body))
    except Taken:
        return {"error": "Username or email already exists"}, 400


def _link(path: str, limit: int, rows: list[Any]) -> dict[str, str]:
    return {"Link": next_link(path, limit, rows[-1].id)} if len(rows) == limit else {}


app = connexion.FlaskApp(__name__, specification_dir=Path(__file__).parent)
init_app(app.app, threads=10)  # a2wsgi, behind Connexion's WSGI bridge, has ten threads
app.add_api("openapi.yaml", strict_validation=True)
