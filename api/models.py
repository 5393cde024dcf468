"""The tables, and for each constraint the problem that a client gets when the constraint refuses a row.

A constraint names the class of its problem in `__table_args__`: `info={"problem": UsernameTaken}`. An `insert` or
`update` that `write` runs raises this problem on both databases. When a row violates several constraints, the first
constraint in the order of the table determines `type`, and each constraint adds an entry to `errors`.

A column for a point in time is `created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=UtcNow())`,
with both names from `api.database`. The database sets it, in UTC; a response has it in the format of RFC 3339.
"""

from typing import ClassVar

from sqlalchemy import BigInteger, ForeignKeyConstraint, Identity, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from api.database import Versioned, db
from contractapp import Fault, Problem

# SQLite assigns ids automatically only in a column whose type is exactly INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")


class _Refused(Problem):
    """400: the body matches the contract, but one of its members conflicts with the stored rows."""

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


class User(Versioned, db.Model):  # type: ignore[name-defined,misc]  # Flask-SQLAlchemy makes the class at run time
    """Someone who writes posts."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("username", info={"problem": UsernameTaken}),
        UniqueConstraint("email", info={"problem": EmailTaken}),
        {"sqlite_autoincrement": True},  # without it SQLite reuses the id of a deleted row if it was the greatest
    )

    id: Mapped[int] = mapped_column(_Id, Identity(), primary_key=True)
    username: Mapped[str] = mapped_column(String(80))
    email: Mapped[str] = mapped_column(String(120))

    posts: Mapped[list["Post"]] = relationship(
        back_populates="author", cascade="all, delete-orphan", passive_deletes=True, order_by="Post.id"
    )

    def __repr__(self) -> str:
        return f"<User {self.username}>"


class Post(Versioned, db.Model):  # type: ignore[name-defined,misc]  # as above
    """A text written by a user; deleted with the user."""

    __tablename__ = "posts"
    __table_args__ = (
        ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE", info={"problem": UnknownUser}),
        Index(None, "user_id", "id"),  # for a page of one user's posts, and for the cascade
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_Id, Identity(), primary_key=True)
    title: Mapped[str] = mapped_column(String(100))
    content: Mapped[str] = mapped_column(Text)
    user_id: Mapped[int] = mapped_column(_Id)

    author: Mapped[User] = relationship(back_populates="posts")

    def __repr__(self) -> str:
        return f"<Post {self.title}>"
