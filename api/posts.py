"""The operations on posts."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from api.database import read, write
from api.database.shape import shape_of
from api.models import Post
from api.paging import Page, page, select_page
from api.schemas import post_schema
from contractapp import NotFound

_posts = Post.__table__
_post = shape_of(post_schema)
_id_matches = _posts.c.id == bindparam("post_id")

_PAGE = select_page(_post, _posts.c.id)
_PAGE_OF_USER = select_page(_post, _posts.c.id, _posts.c.user_id == bindparam("user_id"))
_SELECT = select(*_post.columns).select_from(_post.source).where(_id_matches)
_INSERT = insert(_posts).returning(*_post.returning)
_UPDATE = update(_posts).where(_id_matches).returning(*_post.returning)
_DELETE = delete(_posts).where(_id_matches).returning(_posts.c.id)


def list_posts(limit: int, cursor: str | None = None, user_id: int | None = None) -> Page:
    """List all posts or the posts of one user, one page at a time."""
    if user_id is None:
        return page(_post, _PAGE, "posts", limit, cursor)
    return page(_post, _PAGE_OF_USER, "posts", limit, cursor, user_id=user_id)


def create_post(body: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Create a post."""
    post = _post.dump(_found(write(_INSERT, body)))
    return post, 201, {"Location": f"posts/{post['id']}"}


def get_post(post_id: int) -> dict[str, Any]:
    """Get a post."""
    return _post.dump(_found(*read(_SELECT, {"post_id": post_id})))


def update_post(post_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """Change a post's title, content or both."""
    return _post.dump(_found(write(_UPDATE, {**body, "post_id": post_id})))


def delete_post(post_id: int) -> dict[str, str]:
    """Delete a post."""
    _found(write(_DELETE, {"post_id": post_id}))
    return {"message": "Post deleted successfully"}


def _found(row: Sequence[Any] | None = None) -> Sequence[Any]:
    if row is None:
        raise NotFound("Post not found")
    return row
