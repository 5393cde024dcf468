"""Invented users and posts, for a database to try things out on."""

from collections.abc import Callable
from uuid import uuid4

from sqlalchemy import Engine, insert, select

from api.models import Post, User

_BATCH = 1000


class NoAuthors(Exception):
    """Posts were asked for, and there is no user to write them."""


def add_users(engine: Engine, count: int, advance: Callable[[int], None]) -> None:
    """Add that many users; `advance` is told how many each transaction stored."""
    run = uuid4().hex  # no name of another run can be the same, whoever else is writing
    for start in range(0, count, _BATCH):
        names = [f"user-{run}-{number}" for number in range(start, min(start + _BATCH, count))]
        with engine.begin() as connection:
            connection.execute(
                insert(User.__table__), [{"username": name, "email": f"{name}@example.com"} for name in names]
            )
        advance(len(names))


def add_posts(engine: Engine, count: int, advance: Callable[[int], None]) -> None:
    """Spread that many posts over the latest users; raises `NoAuthors`."""
    with engine.connect() as connection:
        latest = select(User.__table__.c.id).order_by(User.__table__.c.id.desc()).limit(_BATCH)
        authors = connection.scalars(latest).all()
    if count and not authors:
        raise NoAuthors("Posts need authors: add users too.")
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        with engine.begin() as connection:
            connection.execute(
                insert(Post.__table__),
                [
                    {
                        "title": f"Post {number + 1}",
                        "content": f"What there is to say about {number + 1}.",
                        "user_id": authors[number % len(authors)],
                    }
                    for number in numbers
                ],
            )
        advance(len(numbers))
