"""What a refusal looks like."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest


@pytest.fixture
def problem() -> Callable[..., dict[str, Any]]:
    """The body of an error whose status says it all."""

    def body(status: int, detail: str) -> dict[str, Any]:
        title = HTTPStatus(status).phrase
        return {"type": "about:blank", "title": title, "status": status, "detail": detail, "error": detail}

    return body


@pytest.fixture
def invalid() -> Callable[..., dict[str, Any]]:
    """The body of a 400 for these faults, each `(in, pointer, detail)`."""

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
