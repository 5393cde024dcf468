"""The body of every error response: problem details for HTTP APIs (RFC 9457).

Defines the format and the exceptions that carry it; independent of servers and frameworks.
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
        pointer: The place in this part, a JSON pointer (RFC 6901) such as `/items/0/name`; a parameter is `/name`.
        detail: The reason, such as `must be an integer`. It does not repeat the value.
    """

    location: str
    pointer: str
    detail: str


class Problem(Exception):
    """An error response. A handler raises it, and it is sent as `application/problem+json` (RFC 9457).

    To define a problem of your own, write a subclass that sets the first four attributes.

    Attributes:
        status: The HTTP status, an integer from 400 to 599.
        type: A URI that identifies the kind of problem. `about:blank` adds nothing to the status (RFC 9457, section
            4.2.1).
        title: A short name of the kind of problem; if None, the reason phrase of the status.
        default_detail: The detail if none is given; if None, the reason phrase of the status.
        detail: A sentence for people that says what is wrong with this request.
        errors: The faults of the request, as a tuple of at most 50.
        headers: Headers of the response, by name.

    Args:
        detail: The detail; by default `default_detail`.
        errors: The faults of the request; those after the 50th are dropped.
        headers: Headers of the response in addition to Content-Type and Content-Length.
        status: The status, if it is not that of the class.
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
            self.status = status  # type: ignore[misc]  # overrides the class for statuses without a class of their own
        self.detail = detail or self.default_detail or _phrase(self.status)
        self.errors = tuple(errors[:MAX_ERRORS])
        self.headers = dict(headers or {})
        super().__init__(self.detail)

    def body(self) -> dict[str, object]:
        """The members of the JSON object: `type`, `title`, `status`, `detail`, and `errors` if there are any.

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
    """400: parameters or body do not match the contract; `errors` lists the faults (RFC 9110, section 15.5.1)."""

    status = 400
    type = "urn:problem:invalid-request"
    title = "Invalid request"
    default_detail = "The request does not match the contract."


class NotFound(Problem):
    """404: the resource does not exist (RFC 9110, section 15.5.5)."""

    status = 404


class MethodNotAllowed(Problem):
    """405: the path does not accept this method (RFC 9110, section 15.5.6).

    Args:
        allow: The methods that the path accepts, such as `GET, HEAD, OPTIONS`: the value of the header `Allow`.
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


class PreconditionFailed(Problem):
    """412: the precondition of a request does not hold, and nothing was changed (RFC 9110, section 15.5.13).

    Args:
        etag: The current entity tag: the value of the header `ETag`.
        header: The header with the precondition.
    """

    status = 412
    type = "urn:problem:precondition-failed"
    title = "Precondition failed"

    def __init__(self, etag: str, *, header: str = "If-Match") -> None:
        super().__init__(
            f"The precondition in {header} does not hold.",
            errors=[Fault("header", f"/{header}", "does not hold for the current state")],
            headers={"ETag": etag},
        )


class PreconditionRequired(Problem):
    """428: the request lacks a precondition that the service requires (RFC 6585, section 3).

    Args:
        header: The header that is missing.
    """

    status = 428

    def __init__(self, header: str = "If-Match") -> None:
        super().__init__(f"The request must have the header {header}.")


class ContentTooLarge(Problem):
    """413: the body is over the limit (RFC 9110, section 15.5.14).

    Args:
        max_body_bytes: The limit, which is part of the detail.
    """

    status = 413
    title = "Content Too Large"  # the phrase of RFC 9110; Python before 3.13 has an older one

    def __init__(self, max_body_bytes: int) -> None:
        super().__init__(f"The request body is over the limit of {max_body_bytes} bytes.")


class UnsupportedMediaType(Problem):
    """415: a media type, charset or content coding that the operation does not support (RFC 9110, section 15.5.16)."""

    status = 415


class Unavailable(Problem):
    """503: the service cannot answer at present (RFC 9110, section 15.6.4).

    Args:
        detail: The detail; by default `default_detail`.
        retry_after_seconds: The time after which to try again: the value of the header `Retry-After` (RFC 9110,
            section 10.2.3).
    """

    status = 503
    default_detail = "The service is not available just now. Try again shortly."

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


class IdempotencyKeyReused(Problem):
    """422: the key was sent before with another request (draft-ietf-httpapi-idempotency-key-header-07, section 2.7)."""

    status = 422
    type = "urn:problem:idempotency-key-reused"
    title = "Idempotency key reused"
    default_detail = "The Idempotency-Key was sent before with another request; a new request takes a new key."


class IdempotencyKeyInUse(Problem):
    """409: another request with this key is still being carried out (the same draft, section 2.7).

    Args:
        retry_after_seconds: The time after which to try again: the value of the header `Retry-After`.
    """

    status = 409
    default_detail = "Another request with this Idempotency-Key is still being carried out. Try again shortly."

    def __init__(self, *, retry_after_seconds: int = 1) -> None:
        super().__init__(headers={"Retry-After": str(retry_after_seconds)})


class InternalError(Problem):
    """500: an unexpected error, which is described in the log and not in the response (RFC 9110, section 15.6.1)."""

    status = 500
    default_detail = "The server met an unexpected condition."


def shorten(name: str) -> str:
    """A name that a client sent, cut at `MAX_NAME_LENGTH` code points to keep responses small."""
    return name if len(name) <= MAX_NAME_LENGTH else name[:MAX_NAME_LENGTH] + "…"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
