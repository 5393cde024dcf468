"""Answers requests at once, in the callback of the parser, if they arrived whole and the application need not wait.

Such a request costs no task, no ASGI messages and one `write`. All others are served by uvicorn through ASGI.
The answers are written when all data that has arrived on any connection was read: a client on the same machine then
wakes up once for several answers, which takes half the time of a small request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, HttpToolsProtocol

from contractapp.answers import Answer, send_answer

if TYPE_CHECKING:
    import asyncio

    from contractapp.answers import ASGIApp, RawHeaders, RespondAtOnce

# A client that pipelines more requests in one piece lets other clients go first.
_MAX_AT_ONCE = 16

# Headers that tell the server how to send the answer: uvicorn sends such an answer.
_FRAMING = frozenset({b"connection", b"transfer-encoding"})
_WITHOUT_LENGTH = frozenset({204, 304})


class ImmediateProtocol(HttpToolsProtocol):
    """One connection. `respond_at_once` is the application's method of this name; None if it has none."""

    respond_at_once: ClassVar[RespondAtOnce | None] = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pieces: list[bytes] | None = None  # the body so far of a request that may be answered at once
        self._keep_alive = True
        self._at_once = 0
        self._unwritten: list[bytes] = []
        self._default_headers: RawHeaders = []
        self._default_lines = b""
        self._idle_since: float | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._unwritten.clear()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks
        self.flush()
        return False

    def shutdown(self) -> None:
        self.flush()
        super().shutdown()

    def flush(self) -> None:
        """Write the answers that were not written yet."""
        if self._unwritten:
            data = b"".join(self._unwritten)
            self._unwritten.clear()
            self.transport.write(data)

    def wait_for_body(self) -> None:
        """Call this after each piece of data was parsed: a body that has not arrived whole is waited for in ASGI."""
        self._at_once = 0
        if self._pieces is not None:
            self._start_cycle(None)

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():  # the answer before this request said so; httptools stops at an error
            raise ConnectionError("a request after the last one of its connection (RFC 9112, section 9.6)")
        is_waiting = self.cycle is not None and not self.cycle.response_complete
        if (
            self.respond_at_once is None
            or is_waiting
            or self.expect_100_continue
            or self._at_once >= _MAX_AT_ONCE
            or self.flow.write_paused
        ):
            self.flush()
            super().on_headers_complete()
            return
        self._complete_scope()
        self._at_once += 1
        self._pieces = []
        self.cycle = None  # type: ignore[assignment]  # the one before is complete

    def on_body(self, body: bytes) -> None:
        if self._pieces is None:
            super().on_body(body)
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._pieces is None:
            super().on_message_complete()
            return
        assert self.respond_at_once is not None
        scope: Any = self.scope
        outcome = self.respond_at_once(scope, b"".join(self._pieces))
        if isinstance(outcome, Answer):
            if self._write(outcome):
                return
            outcome = _sending(outcome)
        self._start_cycle(outcome)
        super().on_message_complete()

    def _complete_scope(self) -> None:
        scope, parser = self.scope, self.parser
        url = httptools.parse_url(self.url)
        raw_path = url.path
        path = raw_path.decode("ascii")
        scope["method"] = parser.get_method().decode("ascii")
        version = parser.get_http_version()
        if version != "1.1":
            scope["http_version"] = version
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + raw_path
        scope["query_string"] = url.query or b""
        self._keep_alive = version != "1.0" and parser.should_keep_alive()  # as in uvicorn

    def _start_cycle(self, application: ASGIApp | None) -> None:
        """Let uvicorn serve the request, with this application in place of the whole one, if there is one."""
        self.flush()
        content, self._pieces = b"".join(self._pieces or ()), None
        whole, self.app = self.app, application or self.app
        try:
            super().on_headers_complete()
        finally:
            self.app = whole
        if content and application is None:  # any other has read it; the cycle lives until the next request
            self.cycle.body += content
            self.cycle.message_event.set()

    def _write(self, answer: Answer) -> bool:
        """Send the answer; False if uvicorn must send it."""
        status, headers, body, _ = answer
        is_head = self.scope["method"] == "HEAD"
        has_length = is_head or (status in _WITHOUT_LENGTH and not body)
        if status not in STATUS_LINE:
            return False
        lines = [STATUS_LINE[status], self._default()]
        for name, value in headers:
            if name in _FRAMING or HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
                return False
            if name == b"content-length":
                if not is_head and value != b"%d" % len(body):
                    return False
                has_length = True
            lines += (name, b": ", value, b"\r\n")
        if not has_length:
            return False
        self._pieces = None
        lines.append(b"\r\n" if self._keep_alive else b"connection: close\r\n\r\n")
        if not is_head:
            lines.append(body)
        if not self._unwritten:
            self.loop.call_soon(self.flush)
        self._unwritten += lines
        self.server_state.total_requests += 1
        if self._keep_alive:
            self._wait_for_next()
        else:
            self.flush()
            self.transport.close()
        return True

    def _default(self) -> bytes:
        """The lines of the headers that the server adds; uvicorn makes a new list of them each second."""
        headers = self.server_state.default_headers
        if headers is not self._default_headers:
            self._default_headers = headers
            self._default_lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._default_lines

    def _wait_for_next(self) -> None:
        """Close the connection if no request comes in time. There is one timer, not one for each request."""
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._end_if_idle)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None
        super()._unset_keepalive_if_required()

    def _end_if_idle(self) -> None:
        self._idle_timer = None
        if self._idle_since is None:
            return
        remaining = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if remaining > 0:
            self._idle_timer = self.loop.call_later(remaining, self._end_if_idle)
        else:
            self.timeout_keep_alive_handler()


def _sending(answer: Answer) -> ASGIApp:
    async def send_it(scope: Any, _: Any, send: Any) -> None:
        await send_answer(answer, send, head=scope["method"] == "HEAD")

    return send_it
