"""The bodies of error responses."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest


@pytest.fixture
def problem() -> Callable[..., dict[str, Any]]:
    """A function that returns the body of a problem of type `about:blank`."""

    def body(status: int, detail: str) -> dict[str, Any]:
        title = HTTPStatus(status).phrase
        return {"type": "about:blank", "title": title, "status": status, "detail": detail, "error": detail}

    return body


@pytest.fixture
def invalid() -> Callable[..., dict[str, Any]]:
    """A function that returns the body of a 400 with these faults, each `(in, pointer, detail)`."""

    def body(*faults: tuple[str, str, str]) -> dict[str, Any]:
        return {
            "type": "urn:problem:invalid-request",
            "title": "Invalid request",
            "status": 400,
            "detail": "The request does not match the contract.",
            "error": "The request does not match the contract.",
            "errors": [{"in": place, "pointer": pointer, "detail": detail} for place, pointer, detail in faults],
        }

    return body
