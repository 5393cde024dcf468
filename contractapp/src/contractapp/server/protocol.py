"""uvicorn's implementation of HTTP/1.1 with httptools, with four corrections.

- An offer to switch protocols, such as `Upgrade: h2c`, which Java's HttpClient sends by default, is declined as RFC
  9110, section 7.8 allows: the request is served, its body included. uvicorn 0.54 loses the body.
- A request that is not valid HTTP is answered with a problem, in order: uvicorn sends its 400 before the response to a
  request that is still being served.
- The head of a request is limited in bytes, headers and time, and must name one host (RFC 9112, section 3.2). Trailers
  are not mixed with headers. A client that pipelines too many requests, or reads nothing for too long, is disconnected.
- A request that uvicorn cancels at the end of the shutdown timeout is answered 503.

A request that arrived whole, and that the application can answer without waiting, is answered at once (`immediate`).
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from contractapp.answers import ProblemBody, problem_answer, send_answer
from contractapp.problems import Fault, InvalidRequest, Problem, Unavailable
from contractapp.server.immediate import ImmediateProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

# Headers that offer another protocol (RFC 9110, section 7.8; RFC 7540, section 3.2.1).
_OFFERS = frozenset({b"upgrade", b"http2-settings"})

_LINGER_SECONDS = 1.0

_VERSIONS = frozenset({"1.0", "1.1"})
_MAX_HEAD_BYTES = 65_536
_MAX_HEADERS = 100
_MAX_PIPELINED = 100

_REFUSAL = InvalidRequest(errors=[Fault("header", "", "is not HTTP/1.1")])
_TOO_LARGE = Problem("The head of the request is too large.", status=431)  # RFC 6585, section 5
_UNKNOWN_METHOD = Problem("The server does not know this method.", status=501)  # RFC 9110, section 9.1

# A valid request line with a method that is not one of these. The parser accepts only registered methods.
_KNOWN = "DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT|TRACE"
_IS_REQUEST = re.compile(rf"(?!(?:{_KNOWN}) )[!#$%&'*+.^_`|~0-9A-Za-z-]+ /[!-~]* HTTP/1\.[01]\r\n".encode())


class Protocol(ImmediateProtocol):
    """One connection. The server sets the class attributes."""

    timeout_seconds: ClassVar[float] = 15.0
    problem_body: ClassVar[ProblemBody] = staticmethod(Problem.body)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head_bytes: int | None = 0
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks
        """Answer the last complete request of a client that closed its sending side, since it may still read."""
        super().eof_received()
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        rest: bytes | None = data
        while rest is not None:
            rest = self._feed(rest)
        if self._refused:
            return
        self.wait_for_body()
        if self._in_head:
            # The position of the head in its first piece is not known: that piece, of at most 256 KiB, is not counted.
            self._head_bytes = self._head_bytes + len(data) if self._head_bytes is not None else 0
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._refuse(_TOO_LARGE)
            elif self._head_timer is None:
                self._start_head_timer()
        elif self.timeout_keep_alive_task is not None:  # the rest of a refused body is still arriving
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        self._unset_keepalive_if_required()  # only now, because blank lines do not begin a request
        self._in_head = True
        self._head_bytes = None
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # otherwise it is a trailer, which must not become a header (RFC 9110, section 6.5.1)
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        if hosts > 1 or version not in _VERSIONS or (version == "1.1" and not hosts):
            # httptools turns an error raised here into an HttpParserError.
            raise ValueError("neither HTTP/1.0 nor HTTP/1.1 with exactly one Host (RFC 9112, section 3.2)")
        if len(names) > _MAX_HEADERS or len(self.pipeline) >= _MAX_PIPELINED:
            raise ValueError("too many headers or pipelined requests")
        if not self.parser.should_upgrade():
            self._begin_request(version, names)
        self._in_head = False  # only now, because a target that is not a URL raised an error
        self._stop_head_timer()

    def _begin_request(self, version: str, names: list[bytes]) -> None:
        if version == "1.1" and b"expect" in names:
            self.expect_100_continue = self._expects_continue()
        super().on_headers_complete()
        if self.expect_100_continue:  # a final response without `100 Continue` ends the connection: no body will come
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        if self.expect_100_continue and not self.cycle.response_started:
            self.cycle.keep_alive = self.parser.should_keep_alive()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_head:  # the next request has begun; its head has its own timer
            self._unset_keepalive_if_required()

    def pause_writing(self) -> None:
        """The write buffer is full, because the client reads too slowly."""
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()

    def _expects_continue(self) -> bool:
        return any(name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Callable[..., Any]) -> None:
        async def answer_cancellation(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:  # the server cancelled the request, and no layer of the application answered
                if not cycle.response_started:
                    problem = Unavailable()
                    answer = problem_answer(problem, type(self).problem_body(problem))
                    await send_answer(answer, send, head=scope["method"] == "HEAD")
                raise

        super()._start_asgi_task(cycle, answer_cancellation)

    def _feed(self, data: bytes) -> bytes | None:
        """Parse the data. If the request offers another protocol, returns the bytes to parse in place of it."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._decline(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(_UNKNOWN_METHOD if _IS_REQUEST.match(data) else _REFUSAL)
        return None

    def _decline(self, rest: bytes) -> bytes | None:
        """The bytes of the request without its offer of another protocol: its head, serialised again, and the rest."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(_UNKNOWN_METHOD)
            return None
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
        return b"\r\n".join([*lines, b"", rest])

    def _refuse(self, problem: Problem) -> None:
        """Answer with the problem and close, after the complete requests before it were answered in order."""
        self._refused = True
        self._stop_head_timer()
        self.flush()
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self.cycle.keep_alive = False  # its answer ends the connection
            self.flow.pause_reading()
            return
        answered = self.cycle is not None and not self._in_head and self.cycle.response_started
        if self.pipeline or answered:  # a client could take an answer now for that of another request
            self.transport.close()
            return
        answer = problem_answer(problem, type(self).problem_body(problem))
        headers = [*self.server_state.default_headers, *answer.headers, (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[problem.status] + lines + b"\r\n" + answer.body)
        # A client that is still writing would lose the answer to a reset (RFC 9112, section 9.6).
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        if self.cycle is not None:
            self.cycle.disconnected = True  # its body will never be complete
            self.cycle.message_event.set()

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.timeout_seconds, self.transport.close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _start_write_timer(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(self.timeout_seconds, self._end_if_stuck, waiting)

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _end_if_stuck(self, waiting: int) -> None:
        """Disconnect the client if it has read none of the waiting bytes; a slow client may continue."""
        if self.transport.get_write_buffer_size() < waiting:
            self._start_write_timer()
        else:
            self.transport.abort()
