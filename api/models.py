"""The tables, and beside each constraint the problem a client sees when it refuses a row.

A constraint is written in `__table_args__` with the class of its problem: `info={"problem": UsernameTaken}`. A plain
`insert` or `update` through `write` then raises it on both databases. Where a row breaks several constraints, the first
in the table's order is the type, and each adds its entry to `errors`.

A point in time is `created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=UtcNow())`, both from
`api.database`: in UTC, set by the database, and in an answer as RFC 3339 has it.
"""

from typing import ClassVar

from sqlalchemy import BigInteger, ForeignKeyConstraint, Identity, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from api.database import db
from contractapp import Fault, Problem

# SQLite numbers rows by itself only in a column whose type is exactly INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")


class _Refused(Problem):
    """400: the body keeps the contract, but the rows already there refuse one of its members."""

    status = 400
    pointer: ClassVar[str]

    def __init__(self) -> None:
        super().__init__(errors=[Fault("body", self.pointer, str(self.default_detail))])


class UsernameTaken(_Refused):
    """400: another user has this username."""

    type = "urn:problem:username-taken"
    title = "Username taken"
    default_detail = "Username already exists"
    pointer = "/username"


class EmailTaken(_Refused):
    """400: another user has this e-mail address."""

    type = "urn:problem:email-taken"
    title = "Email taken"
    default_detail = "Email already exists"
    pointer = "/email"


class UnknownUser(_Refused):
    """400: there is no user with the id that the row refers to."""

    type = "urn:problem:unknown-user"
    title = "Unknown user"
    default_detail = "User not found"
    pointer = "/user_id"


class User(db.Model):  # type: ignore[name-defined,misc]  # Flask-SQLAlchemy makes the class at run time
    """Someone who writes posts."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("username", info={"problem": UsernameTaken}),
        UniqueConstraint("email", info={"problem": EmailTaken}),
        {"sqlite_autoincrement": True},  # else SQLite gives the id of a deleted last row to the next
    )

    id: Mapped[int] = mapped_column(_Id, Identity(), primary_key=True)
    username: Mapped[str] = mapped_column(String(80))
    email: Mapped[str] = mapped_column(String(120))

    posts: Mapped[list["Post"]] = relationship(
        back_populates="author", cascade="all, delete-orphan", passive_deletes=True, order_by="Post.id"
    )

    def __repr__(self) -> str:
        return f"<User {self.username}>"


class Post(db.Model):  # type: ignore[name-defined,misc]  # as above
    """What a user wrote; goes when the user goes."""

    __tablename__ = "posts"
    __table_args__ = (
        ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE", info={"problem": UnknownUser}),
        Index(None, "user_id", "id"),  # a page of one author's posts, and the cascade
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_Id, Identity(), primary_key=True)
    title: Mapped[str] = mapped_column(String(100))
    content: Mapped[str] = mapped_column(Text)
    user_id: Mapped[int] = mapped_column(_Id)

    author: Mapped[User] = relationship(back_populates="posts")

    def __repr__(self) -> str:
        return f"<Post {self.title}>"
