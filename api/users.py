"""The operations on users."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select

from api.database import changing, read, write
from api.database.shape import shape_of
from api.models import User
from api.paging import Page, page, select_page
from api.schemas import user_schema
from api.tags import Tagged, if_tagged, tagged, write_if
from contractapp import EntityTags, NotFound

_users = User.__table__
_user = shape_of(user_schema)
_id_matches = _users.c.id == bindparam("user_id")

_PAGE = select_page(_user, _users.c.id)
_SELECT = select(*_user.columns, _user.tag).where(_id_matches)
_INSERT = insert(_users).returning(*_user.returning, _user.returned_tag)
_UPDATE = changing(_users).where(_id_matches).returning(*_user.returning, _user.returned_tag)
_UPDATE_IF = if_tagged(_UPDATE, _user)
_DELETE = delete(_users).where(_id_matches).returning(_users.c.id)
_DELETE_IF = if_tagged(_DELETE, _user)


def list_users(limit: int, cursor: str | None = None) -> Page:
    """List users, one page at a time."""
    return page(_user, _PAGE, "users", limit, cursor)


def create_user(body: dict[str, Any]) -> Tagged:
    """Create a user."""
    user, _, headers = tagged(_user, _found(write(_INSERT, body)))
    return user, 201, {**headers, "Location": f"users/{user['id']}"}


def get_user(user_id: int) -> Tagged:
    """Get a user."""
    return tagged(_user, _found(*read(_SELECT, {"user_id": user_id})))


def update_user(user_id: int, body: dict[str, Any], if_match: EntityTags | None = None) -> Tagged:
    """Change a user's name, e-mail address or both."""
    key = {"user_id": user_id}
    row = write_if(if_match, (_UPDATE, _UPDATE_IF), {**body, **key}, (_SELECT, key))
    return tagged(_user, _found(row))


def delete_user(user_id: int, if_match: EntityTags | None = None) -> dict[str, str]:
    """Delete a user; the foreign key deletes the user's posts, too."""
    key = {"user_id": user_id}
    _found(write_if(if_match, (_DELETE, _DELETE_IF), key, (_SELECT, key)))
    return {"message": "User deleted successfully"}


def _found(row: Sequence[Any] | None = None) -> Sequence[Any]:
    if row is None:
        raise NotFound("User not found")
    return row
