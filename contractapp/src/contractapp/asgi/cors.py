"""Cross-origin requests: an ASGI layer that lets web pages of other origins call the API and read its responses.

It is the outermost layer, so that a page can read error responses too. Credentials (cookies, HTTP authentication)
are never allowed. Reasons against Starlette's `CORSMiddleware` (1.10): it answers preflights from origins that are not
listed with a 400 in plain text, even for the published contract, which every origin may read; it overwrites the
contract's own CORS headers; and it sends `Vary: Origin` even if all origins get the same response.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MAX_AGE_SECONDS = 600

# Origins as browsers write them (RFC 6454, section 6.1): lower case, no path, no slash at the end.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[^\s/?#@:A-Z\[\]]+)(:[0-9]+)?")


def cors(
    origins: Iterable[str],
    *,
    methods: Iterable[str] = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"),
    exposed_headers: Iterable[str] = ("Link", "Location", "Allow", "Retry-After", "ETag"),
) -> Callable[[ASGIApp], ASGIApp]:
    """An ASGI layer that lets web pages of other origins call the API (Fetch standard, section CORS protocol).

    Put it around the application: `served = cors(["https://app.example"])(app)`. Credentials are never allowed.

    Args:
        origins: The origins, each as browsers write it, such as `https://app.example`; `*` allows all origins.
        methods: The methods that a page may send. If a path does not accept one of them, the page gets a readable 405.
        exposed_headers: The response headers that a page may read, in addition to those that every page may read.

    Returns:
        A function that takes an ASGI application and returns one.

    Raises:
        ValueError: An item of `origins` is not an origin.
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
            # Also for unknown paths: if the preflight failed, the page could not read the 404.
            await send({"type": "http.response.start", "status": 204, "headers": self._preflight(granted, headers)})
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self._added(granted, message)]}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _granted(self, origin: bytes | None) -> bytes | None:
        """The value of `Access-Control-Allow-Origin`, or None if the origin is not allowed."""
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
        requested = headers.get(b"access-control-request-headers")
        if requested:
            # All are allowed: no request header gives a right here, and a gateway in front may need its own headers.
            answer.append((b"access-control-allow-headers", requested))
        return answer

    def _added(self, granted: bytes | None, message: Message) -> list[tuple[bytes, bytes]]:
        if any(name.lower() == b"access-control-allow-origin" for name, _ in message.get("headers", ())):
            return []  # the published contract, which every origin may read
        vary = [] if self._origins is None else [(b"vary", b"Origin")]
        if granted is None:
            return vary
        return [
            (b"access-control-allow-origin", granted),
            (b"access-control-expose-headers", self._exposed_headers),
            *vary,
        ]
