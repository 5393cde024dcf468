"""Users for tests."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from api.models import User
from api.schemas import user_schema

Row = dict[str, Any]


@pytest.fixture
def make_user(store: Callable[..., Row]) -> Callable[..., Row]:
    """A function that stores a user and returns its JSON."""
    numbers = count(1)

    def make(**overrides: object) -> Row:
        number = next(numbers)
        values = {"username": f"user{number}", "email": f"user{number}@example.com", **overrides}
        return store(User(**values), user_schema)

    return make


@pytest.fixture
def user(make_user: Callable[..., Row]) -> Row:
    """A stored user."""
    return make_user()
