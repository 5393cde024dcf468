"""Cross-origin requests: an ASGI layer that lets pages of other sites call the API and read its answers.

It stands in front of everything, so that a page can read every refusal too. Credentials (cookies, HTTP authentication)
are never allowed. Starlette's `CORSMiddleware` (1.10) was not taken: it answers a preflight of any other site with a
400 of its own in plain text, also where the contract itself is asked for, which everyone may read; it overwrites the
headers that the contract is sent with; and it sends `Vary: Origin` where all origins get one answer.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MAX_AGE_SECONDS = 600

# Serialised as browsers do (RFC 6454, section 6.1): lower case, no path, no slash at the end.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[^\s/?#@:A-Z\[\]]+)(:[0-9]+)?")


def cors(
    origins: Iterable[str],
    *,
    methods: Iterable[str] = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"),
    exposed_headers: Iterable[str] = ("Link", "Location", "Allow", "Retry-After", "ETag"),
) -> Callable[[ASGIApp], ASGIApp]:
    """A layer that lets pages of other sites call the API from browsers (Fetch standard, section CORS protocol).

    Put it around the application: `served = cors(["https://app.example"])(app)`. Credentials are never allowed.

    Args:
        origins: The sites, each as browsers write it, such as `https://app.example`; `*` is all of them.
        methods: What a page may send. One that a path does not take is answered 405, which the page can then read.
        exposed_headers: What a page may read of a response, beside the headers that every page may read.

    Returns:
        A function that takes an ASGI application and returns one.

    Raises:
        ValueError: One of them is not an origin.
    """
    origins = frozenset(origins)
    for origin in origins - {"*"}:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is not an origin such as https://app.example")
    return partial(
        _Cors,
        origins=None if "*" in origins else frozenset(origin.encode() for origin in origins),
        methods=", ".join(methods).encode(),
        exposed_headers=", ".join(exposed_headers).encode(),
    )


class _Cors:
    def __init__(
        self, app: ASGIApp, *, origins: frozenset[bytes] | None, methods: bytes, exposed_headers: bytes
    ) -> None:
        self._app = app
        self._origins = origins
        self._methods = methods
        self._exposed_headers = exposed_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        granted = self._granted(headers.get(b"origin"))
        if granted and scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            # For unknown paths too: without a preflight's consent a page could not read the 404.
            await send({"type": "http.response.start", "status": 204, "headers": self._preflight(granted, headers)})
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self._added(granted, message)]}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _granted(self, origin: bytes | None) -> bytes | None:
        """The value of `Access-Control-Allow-Origin`, or None where there is none."""
        if origin is None:
            return None
        if self._origins is None:
            return b"*"
        return origin if origin in self._origins else None

    def _preflight(self, granted: bytes, headers: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        answer = [
            (b"access-control-allow-origin", granted),
            (b"access-control-allow-methods", self._methods),
            (b"access-control-max-age", b"%d" % _MAX_AGE_SECONDS),
            (b"vary", b"Origin, Access-Control-Request-Headers"),
        ]
        asked = headers.get(b"access-control-request-headers")
        if asked:
            # No header of a request grants anything here, and a gateway in front may need headers of its own.
            answer.append((b"access-control-allow-headers", asked))
        return answer

    def _added(self, granted: bytes | None, message: Message) -> list[tuple[bytes, bytes]]:
        if any(name.lower() == b"access-control-allow-origin" for name, _ in message.get("headers", ())):
            return []  # the contract, which everyone may read
        vary = [] if self._origins is None else [(b"vary", b"Origin")]
        if granted is None:
            return vary
        return [
            (b"access-control-allow-origin", granted),
            (b"access-control-expose-headers", self._exposed_headers),
            *vary,
        ]
