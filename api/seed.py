"""Adds users and posts with invented data, for trying things out."""

from collections.abc import Callable
from uuid import uuid4

from sqlalchemy import Engine, insert, select

from api.models import Post, User

_BATCH = 1000


class NoAuthors(Exception):
    """Posts were to be added, but there is no user who could be their author."""


def add_users(engine: Engine, count: int, advance: Callable[[int], None]) -> None:
    """Add `count` users; after each transaction, `advance` gets the number of users that it stored."""
    run = uuid4().hex  # makes the names unique, also when another process adds users at the same time
    for start in range(0, count, _BATCH):
        names = [f"user-{run}-{number}" for number in range(start, min(start + _BATCH, count))]
        with engine.begin() as connection:
            connection.execute(
                insert(User.__table__), [{"username": name, "email": f"{name}@example.com"} for name in names]
            )
        advance(len(names))


def add_posts(engine: Engine, count: int, advance: Callable[[int], None]) -> None:
    """Add `count` posts, in turn for each of the latest 1000 users; raises `NoAuthors`."""
    with engine.connect() as connection:
        latest = select(User.__table__.c.id).order_by(User.__table__.c.id.desc()).limit(_BATCH)
        authors = connection.scalars(latest).all()
    if count and not authors:
        raise NoAuthors("There is no user who could write the posts: add users, too.")
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        with engine.begin() as connection:
            connection.execute(
                insert(Post.__table__),
                [
                    {
                        "title": f"Post {number + 1}",
                        "content": f"This is the content of post {number + 1}.",
                        "user_id": authors[number % len(authors)],
                    }
                    for number in numbers
                ],
            )
        advance(len(numbers))
