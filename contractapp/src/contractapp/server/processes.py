"""The processes of the server: one that serves, or a supervisor and several workers.

uvicorn was chosen for what it gets right and what it costs (benchmarks/README.md): with `protocol` it keeps the body
of chunked and `Upgrade: h2c` requests and answers bad framing once. Reading a body takes 5 µs, in Granian 40, and one
worker is one process. uvicorn on h11 takes three times as long, hypercorn more still.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from math import ceil
from threading import Thread
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.importer import import_from_string
from uvicorn.supervisors import Multiprocess

from contractapp.problems import Problem
from contractapp.server.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from contractapp.answers import ProblemBody

# Connections beyond these wait in the kernel: the application's own queue is what answers 503.
_BACKLOG = 2048

# What a worker needs beyond the shutdown timeout to end.
_GRACE_SECONDS = 1.0


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Args:
        host: A name or an IPv4 or IPv6 address of this machine, such as `127.0.0.1`; `0.0.0.0` is all of IPv4.
        port: 0 is one that is free; the socket's `getsockname()[1]` tells which.

    Raises:
        OSError: The address is taken, or not of this machine; with a sentence.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # Python adds what is said here already
        raise OSError(f"Cannot listen on {host}, port {port}: {reason}.") from None


def load(name: str) -> Callable[..., Any]:
    """The application that `module:name` is, or that the function of this name makes."""
    found = import_from_string(name)
    return found if _is_application(found) else found()


def serve(
    application: Callable[..., Any] | str,
    listener: socket.socket,
    *,
    workers: int = 1,
    log_level: str = "info",
    request_timeout_seconds: float = 15.0,
    shutdown_timeout_seconds: float = 10.0,
    problem_body: ProblemBody = Problem.body,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight.

    Speaks HTTP/1.1 (RFC 9112); TLS and HTTP/2 are for a proxy in front. Headers such as `X-Forwarded-For` are left to
    the application: see `trusted_proxies`. Sets up logging for the process, unless that was done.

    Args:
        application: An ASGI application; or its `module:name`, or that of a function without arguments that makes it.
        listener: Where to listen, from `listen`.
        workers: How many processes serve. Several make an application each, so that it must be given by name. One that
            dies is replaced.
        log_level: `debug`, `info`, `warning` or `error`, for the root logger.
        request_timeout_seconds: How long the head of a request may take, and how long a client may take nothing of its
            answer; the connection is closed beyond.
        shutdown_timeout_seconds: How long requests in flight may take after the signal; they are answered 503 beyond.
        problem_body: The members of the JSON object that a problem becomes, as `ContractApp` has it, for that 503 and
            for requests that are refused because they are not HTTP.

    Raises:
        TypeError: Several workers, and no name.
    """
    if workers > 1 and not isinstance(application, str):
        raise TypeError("Several workers each make an application: name it, or the function that does, as module:name.")
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
        proxy_headers=False,  # the application's own layer believes whom it is told to
        server_header=False,
        timeout_graceful_shutdown=ceil(shutdown_timeout_seconds),
    )
    config.timeout_seconds = request_timeout_seconds
    config.problem_body = problem_body
    if workers > 1:
        _Supervisor(config, [listener]).run()
        return
    try:
        uvicorn.Server(config).run([listener])
    finally:
        _on_stop(signal.SIG_IGN)  # a second signal during the shutdown must not change the exit status


class _Config(uvicorn.Config):
    """What uvicorn calls first in every process: sets up logging and signals, and makes the application."""

    timeout_seconds: float
    problem_body: ProblemBody

    def configure_logging(self) -> None:
        super().configure_logging()  # silences the access log
        level = str(self.log_level).upper()
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        server = logging.getLogger("uvicorn.error")
        server.setLevel(max(logging.WARNING, logging.getLevelName(level)))  # below, it logs each start and stop
        server.addFilter(_is_no_cancellation)
        # For signals that come before uvicorn handles them, and for the one that it raises again once it has stopped.
        _on_stop(lambda *_: sys.exit(0))

    def load_app(self) -> Any:
        found = super().load_app()
        self.factory = isinstance(self.app, str) and not _is_application(found)
        return found

    def load(self) -> None:
        """Make the application, in the process that serves it."""
        parent = multiprocessing.parent_process()
        if self.workers > 1 and parent is not None:
            grace = (self.timeout_graceful_shutdown or 0) + _GRACE_SECONDS
            Thread(target=_follow_parent, args=(parent, grace), daemon=True).start()
        super().load()
        Protocol.timeout_seconds = self.timeout_seconds
        Protocol.problem_body = staticmethod(self.problem_body)  # a function, no method
        gc.collect()
        gc.freeze()  # what exists now lives as long as the process: later collections pass it over


class _Supervisor(Multiprocess):
    """Starts the workers, replaces those that die, stops them."""

    def terminate_all(self) -> None:
        for listener in self.sockets:
            listener.close()  # or the kernel would still accept connections, which no worker serves
        super().terminate_all()

    def join_all(self) -> None:
        deadline = time.monotonic() + (self.config.timeout_graceful_shutdown or 0) + _GRACE_SECONDS
        for process in self.processes:
            process.process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:  # it does not end by itself
                process.kill()
        super().join_all()


def _is_application(found: Any) -> bool:
    """Whether this is an ASGI application itself, and not a function that makes one."""
    return inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(getattr(found, "__call__", None))  # noqa: B004


def _on_stop(handler: Callable[..., Any] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """False for the traceback of a request that uvicorn cancelled: it logs in a line of its own that it does so."""
    return record.exc_info is None or record.exc_info[0] is not asyncio.CancelledError


def _follow_parent(parent: multiprocessing.process.BaseProcess, grace_seconds: float) -> None:
    """End a worker whose parent was killed: nobody would replace or stop it, and it would hold on to the port."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds)
    os._exit(1)
