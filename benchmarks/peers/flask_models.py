"""Flask-SQLAlchemy, and the reads and writes with the ORM, for the three Flask peers."""

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from benchmarks.peers.tables import DATABASE_URL, Base, Post, User, pool_options

db = SQLAlchemy(model_class=Base)


class Taken(Exception):
    """A username or e-mail address that another user has."""


def init_app(app: Flask, *, threads: int) -> None:
    app.config["SQLALCHEMY_DATABASE_URI"] = DATABASE_URL
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = pool_options(threads)
    db.init_app(app)


def users_after(cursor: int, limit: int) -> list[User]:
    statement = select(User).where(User.id > cursor).order_by(User.id).limit(limit)
    return list(db.session.scalars(statement))


def posts_after(cursor: int, limit: int) -> list[Post]:
    statement = select(Post).where(Post.id > cursor).order_by(Post.id).limit(limit)
    return list(db.session.scalars(statement.options(joinedload(Post.author))))


def save(user: User, values: dict[str, str]) -> User:
    for name, value in values.items():
        setattr(user, name, value)
    db.session.add(user)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise Taken from None
    return user
