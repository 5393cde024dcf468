"""The operations on posts."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select

from api.database import changing, read, write
from api.database.shape import shape_of
from api.models import Post
from api.paging import Page, page, select_page
from api.schemas import post_schema
from api.tags import Tagged, if_tagged, tagged, write_if
from contractapp import EntityTags, NotFound

_posts = Post.__table__
_post = shape_of(post_schema)
_id_matches = _posts.c.id == bindparam("post_id")

_PAGE = select_page(_post, _posts.c.id)
_PAGE_OF_USER = select_page(_post, _posts.c.id, _posts.c.user_id == bindparam("user_id"))
_SELECT = select(*_post.columns, _post.tag).select_from(_post.source).where(_id_matches)
_INSERT = insert(_posts).returning(*_post.returning, _post.returned_tag)
_UPDATE = changing(_posts).where(_id_matches).returning(*_post.returning, _post.returned_tag)
_UPDATE_IF = if_tagged(_UPDATE, _post)
_DELETE = delete(_posts).where(_id_matches).returning(_posts.c.id)
_DELETE_IF = if_tagged(_DELETE, _post)


def list_posts(limit: int, cursor: str | None = None, user_id: int | None = None) -> Page:
    """List all posts or the posts of one user, one page at a time."""
    if user_id is None:
        return page(_post, _PAGE, "posts", limit, cursor)
    return page(_post, _PAGE_OF_USER, "posts", limit, cursor, user_id=user_id)


def create_post(body: dict[str, Any]) -> Tagged:
    """Create a post."""
    post, _, headers = tagged(_post, _found(write(_INSERT, body)))
    return post, 201, {**headers, "Location": f"posts/{post['id']}"}


def get_post(post_id: int) -> Tagged:
    """Get a post."""
    return tagged(_post, _found(*read(_SELECT, {"post_id": post_id})))


def update_post(post_id: int, body: dict[str, Any], if_match: EntityTags | None = None) -> Tagged:
    """Change a post's title, content or both."""
    key = {"post_id": post_id}
    row = write_if(if_match, (_UPDATE, _UPDATE_IF), {**body, **key}, (_SELECT, key))
    return tagged(_post, _found(row))


def delete_post(post_id: int, if_match: EntityTags | None = None) -> dict[str, str]:
    """Delete a post."""
    key = {"post_id": post_id}
    _found(write_if(if_match, (_DELETE, _DELETE_IF), key, (_SELECT, key)))
    return {"message": "Post deleted successfully"}


def _found(row: Sequence[Any] | None = None) -> Sequence[Any]:
    if row is None:
        raise NotFound("Post not found")
    return row
