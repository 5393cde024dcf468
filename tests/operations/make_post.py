"""Posts for tests."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from api.models import Post
from api.schemas import post_schema

Row = dict[str, Any]


@pytest.fixture
def make_post(store: Callable[..., Row], make_user: Callable[..., Row]) -> Callable[..., Row]:
    """A function that stores a post and returns its JSON; without `user_id` it creates a user as the author."""
    numbers = count(1)

    def make(**overrides: object) -> Row:
        number = next(numbers)
        values = {"title": f"Post {number}", "content": f"Content {number}", **overrides}
        if "user_id" not in values:
            values["user_id"] = make_user(username=f"author{number}", email=f"author{number}@example.com")["id"]
        return store(Post(**values), post_schema)

    return make


@pytest.fixture
def post(make_post: Callable[..., Row]) -> Row:
    """A stored post."""
    return make_post()
