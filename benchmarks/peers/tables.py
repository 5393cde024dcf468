"""Shared by all peers: the two tables as ORM models, and the same pragmas on SQLite."""

import os
from typing import Any

from sqlalchemy import BigInteger, Engine, ForeignKey, Integer, String, Text, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

DATABASE_URL = os.environ["DATABASE_URL"]
IS_SQLITE = DATABASE_URL.startswith("sqlite")

# The pattern of the contract: no control characters, no space or no-break space at either end.
NAME_PATTERN = r"^[^\x00-\x20\x7F-\xA0]([^\x00-\x1F\x7F-\x9F]*[^\x00-\x20\x7F-\xA0])?$"

SQLITE_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")

_Id = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    username: Mapped[str] = mapped_column(String(80), unique=True)
    email: Mapped[str] = mapped_column(String(120), unique=True)


class Post(Base):
    __tablename__ = "posts"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    title: Mapped[str] = mapped_column(String(100))
    content: Mapped[str] = mapped_column(Text)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))

    author: Mapped[User] = relationship()


def pool_options(threads: int) -> dict[str, Any]:
    """A pool of as many connections as can be in use at once; with the default of 5, PostgreSQL often reconnects."""
    return {"pool_size": threads, "max_overflow": 0}


def next_link(path: str, limit: int, last_id: int) -> str:
    return f'<{path}?limit={limit}&cursor={last_id}>; rel="next"'


@event.listens_for(Engine, "connect")
def _prepare_sqlite(connection: Any, _record: object) -> None:
    if IS_SQLITE:
        cursor = connection.cursor()
        for pragma in SQLITE_PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
