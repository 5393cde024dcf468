"""Every error body the service sends: problem details for HTTP APIs (RFC 9457).

Owns the shape and the exceptions that carry it; knows nothing of servers, frameworks or the database.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import ClassVar, NamedTuple

MEDIA_TYPE = "application/problem+json"

MAX_ERRORS = 50
MAX_NAME_LENGTH = 64


class Fault(NamedTuple):
    """One thing wrong with a request: where (`path`, `query`, `header` or `body`), a JSON pointer, and why."""

    location: str
    pointer: str
    detail: str


class Problem(Exception):
    """A refusal or failure, raised anywhere below the contract runtime and answered as `application/problem+json`."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "about:blank"
    title: ClassVar[str | None] = None
    default_detail: ClassVar[str | None] = None

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
    ) -> None:
        if status is not None:
            self.status = status  # type: ignore[misc]  # one class serves the statuses that need none of their own
        self.detail = detail or self.default_detail or _phrase(self.status)
        self.errors = tuple(errors[:MAX_ERRORS])
        self.headers = dict(headers or {})
        super().__init__(self.detail)

    def body(self) -> dict[str, object]:
        """The members of the JSON object: `type`, `title`, `status`, `detail`, and `errors` where there are any."""
        members: dict[str, object] = {
            "type": self.type,
            "title": self.title or _phrase(self.status),
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            members["errors"] = [
                {"in": fault.location, "pointer": fault.pointer, "detail": fault.detail} for fault in self.errors
            ]
        return members


class InvalidRequest(Problem):
    """400: parameters or body break the contract; `errors` names every fault."""

    status = 400
    type = "urn:problem:invalid-request"
    title = "Invalid request"
    default_detail = "The request does not match the contract."


class NotFound(Problem):
    """404: no such route, or no such row."""

    status = 404


class MethodNotAllowed(Problem):
    """405; carries `Allow` (RFC 9110, section 15.5.6)."""

    status = 405

    def __init__(self, allow: str) -> None:
        super().__init__("This path does not take this method.", headers={"Allow": allow})


class RequestTimeout(Problem):
    """408: the body did not arrive in time."""

    status = 408
    default_detail = "The request body did not arrive in time."

    def __init__(self) -> None:
        super().__init__(headers={"Connection": "close"})


class ContentTooLarge(Problem):
    """413: the body is over the limit."""

    status = 413
    title = "Content Too Large"  # the phrase of RFC 9110; Python before 3.13 has an older one

    def __init__(self, max_body_bytes: int) -> None:
        super().__init__(f"The request body is over the limit of {max_body_bytes} bytes.")


class UnsupportedMediaType(Problem):
    """415: a media type, charset or content coding that the operation does not read."""

    status = 415


class Unavailable(Problem):
    """503: the service cannot answer just now; carries `Retry-After` in seconds (RFC 9110, section 10.2.3)."""

    status = 503
    default_detail = "The service is not available just now. Try again shortly."

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


class InternalError(Problem):
    """500: something unforeseen; what it was stands in the log only."""

    status = 500
    default_detail = "The server met an unexpected condition."


def shorten(name: str) -> str:
    """A client's own name for something, cut at `MAX_NAME_LENGTH` code points so that answers stay small."""
    return name if len(name) <= MAX_NAME_LENGTH else name[:MAX_NAME_LENGTH] + "…"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
