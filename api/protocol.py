"""HTTP/1.1 as uvicorn speaks it on httptools, with four things put right.

- `Upgrade: h2c`, which Java's HttpClient sends by default, and any other offer to switch protocols is declined as
  RFC 9110, section 7.8 allows: the request is served, its body included. uvicorn 0.54 loses the body.
- What is not HTTP gets a problem as every other refusal does, and never out of turn: uvicorn's 400 overtakes the answer
  to a request that is still being served.
- A client has a bounded time for the head of its request; for the body the application sees to it.
- A request without a Host, or with two, is refused (RFC 9112, section 3.2), and so is CONNECT.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.contract.problems import MEDIA_TYPE, Fault, InvalidRequest, Problem

if TYPE_CHECKING:
    import asyncio

# Headers of the connection that offer another protocol (RFC 9110, section 7.8; RFC 7540, section 3.2.1).
_OFFERS = frozenset({b"upgrade", b"http2-settings"})

_LINGER_SECONDS = 1.0

_REFUSAL = InvalidRequest(errors=[Fault("header", "", "is not HTTP/1.1")])
_UNKNOWN_METHOD = Problem("The server does not know this method.", status=501)  # RFC 9110, section 9.1

# Nothing but the method can be wrong with such a beginning: the parser knows those that are registered.
_KNOWN = "DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT|TRACE"
_IS_REQUEST = re.compile(rf"(?!(?:{_KNOWN}) )[!#$%&'*+.^_`|~0-9A-Za-z-]+ /[!-~]* HTTP/1\.[01]\r\n".encode())


class Protocol(HttpToolsProtocol):
    """One connection; `head_timeout_seconds` is set by the server."""

    head_timeout_seconds = 15.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._in_head = True
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(_UNKNOWN_METHOD if _IS_REQUEST.match(data) else _REFUSAL)
        else:
            if self._in_head and self._head_timer is None:
                self._start_head_timer()

    def on_message_begin(self) -> None:
        self._unset_keepalive_if_required()  # not before: blank lines are no request
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_head_timer()
        hosts = [name for name, _ in self.headers].count(b"host")
        if hosts != 1 and (hosts or self.parser.get_http_version() == "1.1"):
            raise ValueError("A request names one host (RFC 9112, section 3.2).")  # httptools makes it a parser's error
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _decline(self, rest: bytes) -> None:
        """Serve the request as if nothing had been offered: its head once more without the offer, then its body."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(_UNKNOWN_METHOD)
            return
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                options = [option.strip() for option in value.split(b",")]
                value = b", ".join(option for option in options if option.lower() not in _OFFERS)  # noqa: PLW2901
            if name not in _OFFERS:
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _refuse(self, problem: Problem) -> None:
        """Answer and close; after the answers to whole requests before it, in their order."""
        self._refused = True
        self._stop_head_timer()
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self.cycle.keep_alive = False  # its answer ends the connection
            self.flow.pause_reading()
            return
        if self.pipeline:  # behind a request that is being served: better no answer than one to the wrong request
            self.transport.close()
            return
        content = problem.content()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(content)),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[problem.status] + lines + b"\r\n" + content)
        # A client that is still writing would lose the answer to a reset (RFC 9112, section 9.6).
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        if self.cycle is not None:
            self.cycle.disconnected = True  # its body will never be whole
            self.cycle.message_event.set()

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout_seconds, self.transport.close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
