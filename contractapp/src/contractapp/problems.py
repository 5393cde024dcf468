"""Every error body that is sent: problem details for HTTP APIs (RFC 9457).

Owns the shape and the exceptions that carry it; knows nothing of servers and frameworks.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import ClassVar, NamedTuple

MEDIA_TYPE = "application/problem+json"

MAX_ERRORS = 50
MAX_NAME_LENGTH = 64


class Fault(NamedTuple):
    """One thing that is wrong with a request.

    Attributes:
        location: The part of the request: `path`, `query`, `header` or `body`.
        pointer: Where in this part, a JSON pointer (RFC 6901) such as `/items/0/name`; a parameter is `/name`.
        detail: Why, in words that do not repeat the value, such as `must be an integer`.
    """

    location: str
    pointer: str
    detail: str


class Problem(Exception):
    """A refusal or failure. Raised by a handler, it is answered as `application/problem+json` (RFC 9457).

    A kind of your own is a subclass that sets the four attributes of the class.

    Attributes:
        status: The HTTP status, an integer from 400 to 599.
        type: A URI that names the kind. `about:blank` says no more than the status does (RFC 9457, section 4.2.1).
        title: What this kind is called; the phrase of the status where it is None.
        default_detail: The detail where none is given; the phrase of the status where it is None.
        detail: What is the matter with this request, in a sentence for people.
        errors: The faults of the request, as a tuple, at most 50.
        headers: Headers of the response, by their names.

    Args:
        detail: The detail; `default_detail` unless given.
        errors: The faults of the request; those after the 50th are dropped.
        headers: Headers of the response beside Content-Type and Content-Length.
        status: Another status than that of the class.
    """

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
        """The members of the JSON object: `type`, `title`, `status`, `detail`, and `errors` where there are any.

        Each of the `errors` has the members `in`, `pointer` and `detail`, the attributes of a `Fault`.
        """
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
    """400: parameters or body break the contract; `errors` names every fault (RFC 9110, section 15.5.1)."""

    status = 400
    type = "urn:problem:invalid-request"
    title = "Invalid request"
    default_detail = "The request does not match the contract."


class NotFound(Problem):
    """404: there is nothing at this path (RFC 9110, section 15.5.5)."""

    status = 404


class MethodNotAllowed(Problem):
    """405: this path does not take this method (RFC 9110, section 15.5.6).

    Args:
        allow: The methods that it takes, such as `GET, HEAD, OPTIONS`: the value of the header `Allow`.
    """

    status = 405

    def __init__(self, allow: str) -> None:
        super().__init__("This path does not take this method.", headers={"Allow": allow})


class RequestTimeout(Problem):
    """408: the body did not arrive in time; the connection is closed (RFC 9110, section 15.5.9)."""

    status = 408
    default_detail = "The request body did not arrive in time."

    def __init__(self) -> None:
        super().__init__(headers={"Connection": "close"})


class ContentTooLarge(Problem):
    """413: the body is over the limit (RFC 9110, section 15.5.14).

    Args:
        max_body_bytes: The limit, which the detail tells.
    """

    status = 413
    title = "Content Too Large"  # the phrase of RFC 9110; Python before 3.13 has an older one

    def __init__(self, max_body_bytes: int) -> None:
        super().__init__(f"The request body is over the limit of {max_body_bytes} bytes.")


class UnsupportedMediaType(Problem):
    """415: a media type, charset or content coding that the operation does not read (RFC 9110, section 15.5.16)."""

    status = 415


class Unavailable(Problem):
    """503: the service cannot answer just now (RFC 9110, section 15.6.4).

    Args:
        detail: The detail; `default_detail` unless given.
        retry_after_seconds: When to try again: the value of the header `Retry-After` (RFC 9110, section 10.2.3).
    """

    status = 503
    default_detail = "The service is not available just now. Try again shortly."

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


class InternalError(Problem):
    """500: something unforeseen, which stands in the log and not in the response (RFC 9110, section 15.6.1)."""

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
