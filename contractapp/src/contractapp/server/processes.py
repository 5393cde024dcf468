"""The server: a process that serves, or several, which `supervisor` starts.

uvicorn was chosen for correctness and speed (benchmarks/README.md). With `protocol`, it keeps the body of chunked and
`Upgrade: h2c` requests, and answers bad framing once. It reads a body in 5 µs (Granian: 40 µs), and one worker is one
process. uvicorn with h11 takes three times as long, hypercorn even longer.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import multiprocessing
import signal
import socket
import sys
from math import ceil
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.importer import import_from_string

from contractapp.problems import Problem
from contractapp.server.protocol import Protocol
from contractapp.server.supervisor import (
    Server,
    Supervisor,
    follow_parent,
    grace_seconds,
    on_stop,
    require_shareable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from contractapp.answers import ProblemBody, RespondAtOnce

# The length of the kernel's queue of new connections. It is long because the application's own queue answers 503.
_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Args:
        host: A host name or an IPv4 or IPv6 address of this machine, such as `127.0.0.1`; `0.0.0.0` is all IPv4
            addresses.
        port: The port; 0 selects a free one, which `getsockname()[1]` of the socket returns.

    Raises:
        OSError: The address is in use, or not of this machine; the message is a sentence.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # Python appends the address, which the sentence has already
        raise OSError(f"Cannot listen on {host}, port {port}: {reason}.") from None


def load(name: str) -> Callable[..., Any]:
    """The application called `module:name`, or the one that the function of this name returns."""
    loaded = import_from_string(name)
    return loaded if _is_application(loaded) else loaded()


def serve(
    application: Callable[..., Any] | str,
    listener: socket.socket,
    *,
    workers: int = 1,
    log_level: str = "info",
    request_timeout_seconds: float = 15.0,
    shutdown_timeout_seconds: float = 10.0,
    problem_body: ProblemBody = Problem.body,
    on_started: Callable[[], object] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight.

    The protocol is HTTP/1.1 (RFC 9112); for TLS or HTTP/2, put a proxy in front. Headers such as `X-Forwarded-For` are
    left to the application: see `trusted_proxies`. Sets up logging for the process, unless it is set up already.

    Args:
        application: An ASGI application, or the name `module:name` of one or of a function without arguments that
            returns one.
        listener: The socket that `listen` returned.
        workers: The number of processes; one that dies is replaced. Several processes share an application that is
            not given by name: they are forked from this process, which must then have no other threads, and the
            application must have no open connections and no event loop. Of an application that is given by name,
            each process makes its own.
        log_level: `debug`, `info`, `warning` or `error`, for the root logger.
        request_timeout_seconds: The time in which the head of a request must arrive, and the longest time in which a
            client may read nothing of its response; after either, the connection is closed.
        shutdown_timeout_seconds: How long requests in flight may take after the signal; then they are answered 503.
        problem_body: A function from a `Problem` to the members of its JSON object, as in `ContractApp`, for that 503
            and for requests that are not valid HTTP.
        on_started: Called once, in this process, when requests are answered: with several workers, by all of them.

    Raises:
        TypeError: Several workers cannot share the application: this system cannot fork safely (Windows, macOS), or
            this process has other threads.
    """
    is_shared = workers > 1 and not isinstance(application, str)
    if is_shared:
        require_shareable()
    config = _Config(
        application,
        workers=workers,
        http=Protocol,
        ws="none",
        lifespan="on",
        backlog=_BACKLOG,
        log_config=None,
        log_level=log_level,
        access_log=False,
        proxy_headers=False,  # `trusted_proxies` reads these headers
        server_header=False,
        timeout_graceful_shutdown=ceil(shutdown_timeout_seconds),
    )
    config.timeout_seconds = request_timeout_seconds
    config.problem_body = problem_body
    if is_shared:
        config.load()
    try:
        if workers > 1:
            Supervisor(config, [listener], on_started).run()
        else:
            Server(config, on_started).run([listener])
    finally:
        on_stop(signal.SIG_IGN)  # a second signal during the shutdown must not change the exit status


class _Config(uvicorn.Config):
    """Sets up logging and signals, and makes the application, in each process that is not forked."""

    timeout_seconds: float
    problem_body: ProblemBody

    def configure_logging(self) -> None:
        super().configure_logging()  # silences the access log
        level = str(self.log_level).upper()
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        server = logging.getLogger("uvicorn.error")
        server.setLevel(max(logging.WARNING, logging.getLevelName(level)))  # below, it logs every start and stop
        server.addFilter(_is_not_cancellation)
        # For signals that arrive before uvicorn handles them, and for the one that it raises again after it stopped.
        on_stop(lambda *_: sys.exit(0))

    def load_app(self) -> Any:
        loaded = super().load_app()
        self.factory = isinstance(self.app, str) and not _is_application(loaded)
        return loaded

    def load(self) -> None:
        """Make the application, in the process that serves it or whose forks serve it."""
        parent = multiprocessing.parent_process()
        if self.workers > 1 and parent is not None:
            follow_parent(parent.join, grace_seconds(self))
        super().load()
        Protocol.timeout_seconds = self.timeout_seconds
        Protocol.respond_at_once = _respond_at_once(self.loaded_app)
        if Protocol.respond_at_once is not None:  # a `ContractApp`
            self.loaded_app.build()
        Protocol.problem_body = staticmethod(self.problem_body)  # a function, not a method
        self.get_loop_factory()  # imports the event loop's module, before any fork
        gc.collect()
        gc.freeze()  # all objects that exist now live as long as the process: later collections skip them,
        # and so do not write to the memory that forked workers share


def _is_application(loaded: Any) -> bool:
    """Whether this is an ASGI application, and not a function that returns one."""
    return inspect.iscoroutinefunction(loaded) or inspect.iscoroutinefunction(getattr(loaded, "__call__", None))  # noqa: B004


def _respond_at_once(loaded: Any) -> RespondAtOnce | None:
    """The application's method of this name. A layer that passes on the attributes of the application has none."""
    if not hasattr(type(loaded), "respond_at_once"):
        return None
    method: RespondAtOnce = loaded.respond_at_once
    return method


def _is_not_cancellation(record: logging.LogRecord) -> bool:
    """False for the traceback of a request that uvicorn cancelled; uvicorn logs the cancellation in another line."""
    return record.exc_info is None or record.exc_info[0] is not asyncio.CancelledError
