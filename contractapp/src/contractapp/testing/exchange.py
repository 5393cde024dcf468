"""A pytest plugin with the fixture `ask`, which sends raw bytes to an ASGI application, without a server.

An HTTP client normalises requests; this plugin sends exactly the given bytes. Switch it on with
`addopts = ["-p", "contractapp.testing.exchange"]` in the configuration of pytest.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson
import pytest


class Reply(NamedTuple):
    """The response of an ASGI application, byte for byte.

    Attributes:
        status: The HTTP status.
        headers: The names and values of the headers, in the order in which they were sent.
        body: The whole body.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The values of a header, joined with commas (RFC 9110, section 5.3); None if there are none."""
        values = [value.decode("latin-1") for key, value in self.headers if key.lower() == name.encode()]
        return ", ".join(values) if values else None

    def json(self) -> Any:
        """The body, decoded as JSON."""
        return orjson.loads(self.body)

    @property
    def faults(self) -> list[tuple[str, str, str]]:
        """The `errors` of a problem, each as (in, pointer, detail)."""
        return [(fault["in"], fault["pointer"], fault["detail"]) for fault in self.json()["errors"]]


@pytest.fixture(scope="session")
def reply_type() -> type[Reply]:
    """`Reply`, for tests that make one themselves."""
    return Reply


Headers = Iterable[tuple[str | bytes, str | bytes]]


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.Runner]:
    """The event loop for all requests that are sent without a server."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def ask(loop: asyncio.Runner) -> Callable[..., Reply]:
    """A fixture: a function that sends one request through the ASGI interface, with exactly the given bytes.

    `ask(app, method, target, headers=(), body=b"", *, announced=True, **scope)` returns a `Reply`. `target` is the
    path with its query, as text or bytes; `headers` are pairs of a name and a value. A `body` of bytes is sent with a
    Content-Length; a list of chunks or ASGI messages is sent with Transfer-Encoding, or without it if not `announced`.
    `scope` replaces members of the ASGI scope, such as `client`.
    """

    def send(app: Any, method: str, target: str | bytes, headers: Headers = (), body: Any = b"", **scope: Any) -> Reply:
        return loop.run(exchange(app, method, target, headers, body, **scope))

    return send


async def exchange(
    app: Any,
    method: str,
    target: str | bytes,
    headers: Headers = (),
    body: Any = b"",
    *,
    announced: bool = True,
    **scope: object,
) -> Reply:
    raw_path, _, query = _bytes(target).partition(b"?")
    raw = [(_bytes(name).lower(), _bytes(value)) for name, value in headers]
    known = {name for name, _ in raw}
    if isinstance(body, bytes):
        if body and b"content-length" not in known and b"transfer-encoding" not in known:
            raw.append((b"content-length", b"%d" % len(body)))
        messages: list[Any] = [body]
    else:
        messages = list(body)
        if announced and b"transfer-encoding" not in known and b"content-length" not in known:
            raw.append((b"transfer-encoding", b"chunked"))
    waiting = [
        {"type": "http.request", "body": item, "more_body": number < len(messages)} if isinstance(item, bytes) else item
        for number, item in enumerate(messages, 1)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        return await asyncio.sleep(3600)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": unquote(raw_path.decode("latin-1")),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": [(b"host", b"test"), *raw],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 80),
            **scope,
        },
        receive,
        send,
    )
    starts = [message for message in sent if message["type"] == "http.response.start"]
    assert len(starts) == 1, sent
    content = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    assert not sent[-1].get("more_body", False)
    return Reply(starts[0]["status"], list(starts[0].get("headers", [])), content)


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text
