"""How the application is served: by uvicorn on uvloop and httptools, one process or several.

uvicorn was chosen by what it gets right and by what it costs (benchmarks/README.md): with `protocol` it keeps the body
of chunked and `Upgrade: h2c` requests and answers bad framing once; reading a body costs it 5 µs, Granian 40; one
worker is one process. With h11 it costs three times as much, and hypercorn more still.
"""

from __future__ import annotations

import asyncio
import gc
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
from uvicorn.supervisors import Multiprocess

from api.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.config import Settings
    from api.contract import ContractApp

# Connections beyond these wait in the kernel: the application's own queue is what answers 503.
_BACKLOG = 2048

# What a worker needs beyond the shutdown timeout to end.
_GRACE_SECONDS = 1.0


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; ends the process with a sentence where that cannot be."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # Python adds what is said here already
        raise SystemExit(f"Cannot listen on {host}, port {port}: {reason}.") from None


def serve(application: ContractApp, settings: Settings, listener: socket.socket, *, workers: int) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight, within the shutdown timeout."""
    config = _Config(
        application if workers == 1 else "api.server:worker",
        factory=workers > 1,
        workers=workers,
        http=Protocol,
        ws="none",
        lifespan="on",
        backlog=_BACKLOG,
        log_config=None,
        log_level=settings.log_level,
        access_log=False,
        proxy_headers=False,  # the application's own layer believes whom it is told to
        server_header=False,
        timeout_graceful_shutdown=ceil(settings.shutdown_timeout_seconds),
    )
    if workers > 1:
        _Supervisor(config, [listener]).run()
        return
    _settle(settings)
    try:
        uvicorn.Server(config).run([listener])
    finally:
        _on_stop(signal.SIG_IGN)  # a second one, of somebody in a hurry, must not spoil the exit status
        gc.freeze()  # looking through what is left would take a third of a second


def worker() -> ContractApp:
    """The application of one of several workers, in a process of its own."""
    from api.app import create_app
    from api.config import Settings

    settings = Settings.from_env()
    Thread(target=_follow_parent, args=(settings.shutdown_timeout_seconds,), daemon=True).start()
    application = create_app()
    _settle(settings)
    return application


class _Config(uvicorn.Config):
    """What uvicorn asks first in every process: how it logs, and what a signal means."""

    def configure_logging(self) -> None:
        super().configure_logging()  # silences the access log
        level = str(self.log_level).upper()
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        server = logging.getLogger("uvicorn.error")
        server.setLevel(max(logging.WARNING, logging.getLevelName(level)))  # it tells of each start and stop
        server.addFilter(_is_news)
        # Before uvicorn listens to signals, and when it raises the one that ended it once more, this is their meaning.
        _on_stop(lambda *_: sys.exit(0))


class _Supervisor(Multiprocess):
    """Starts the workers, replaces those that die, stops them."""

    def terminate_all(self) -> None:
        for listener in self.sockets:
            listener.close()  # or the kernel would go on taking connections that nobody serves
        super().terminate_all()

    def join_all(self) -> None:
        deadline = time.monotonic() + (self.config.timeout_graceful_shutdown or 0) + _GRACE_SECONDS
        for process in self.processes:
            process.process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:  # too stuck to end itself
                process.kill()
        super().join_all()


def _on_stop(handler: Callable[..., Any] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _settle(settings: Settings) -> None:
    Protocol.head_timeout_seconds = settings.request_timeout_seconds
    gc.collect()
    gc.freeze()  # what is here stays: no collection need look at it again


def _is_news(record: logging.LogRecord) -> bool:
    """Not so where a request was cancelled: uvicorn says in a line of its own that it waits no longer."""
    return record.exc_info is None or record.exc_info[0] is not asyncio.CancelledError


def _follow_parent(shutdown_timeout_seconds: float) -> None:
    """End a worker whose parent was killed: nobody would replace or stop it, and it would hold on to the port."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # uvicorn starts workers through multiprocessing
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(shutdown_timeout_seconds + _GRACE_SECONDS)
    os._exit(1)
