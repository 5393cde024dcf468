"""The operations on users."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from api.database import read, write
from api.database.shape import shape_of
from api.models import User
from api.paging import Page, page, select_page
from api.schemas import user_schema
from contractapp import NotFound

_users = User.__table__
_user = shape_of(user_schema)
_id_matches = _users.c.id == bindparam("user_id")

_PAGE = select_page(_user, _users.c.id)
_SELECT = select(*_user.columns).where(_id_matches)
_INSERT = insert(_users).returning(*_user.returning)
_UPDATE = update(_users).where(_id_matches).returning(*_user.returning)
_DELETE = delete(_users).where(_id_matches).returning(_users.c.id)


def list_users(limit: int, cursor: str | None = None) -> Page:
    """List users, one page at a time."""
    return page(_user, _PAGE, "users", limit, cursor)


def create_user(body: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Create a user."""
    user = _user.dump(_found(write(_INSERT, body)))
    return user, 201, {"Location": f"users/{user['id']}"}


def get_user(user_id: int) -> dict[str, Any]:
    """Get a user."""
    return _user.dump(_found(*read(_SELECT, {"user_id": user_id})))


def update_user(user_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """Change a user's name, e-mail address or both."""
    return _user.dump(_found(write(_UPDATE, {**body, "user_id": user_id})))


def delete_user(user_id: int) -> dict[str, str]:
    """Delete a user; the foreign key deletes the user's posts, too."""
    _found(write(_DELETE, {"user_id": user_id}))
    return {"message": "User deleted successfully"}


def _found(row: Sequence[Any] | None = None) -> Sequence[Any]:
    if row is None:
        raise NotFound("User not found")
    return row
