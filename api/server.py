"""How the application is served: by Granian, in worker processes forked from one that has everything ready.

Granian was chosen by what it gets right (benchmarks/README.md): it keeps the body of chunked and `Upgrade: h2c`
requests, answers bad framing once and closes, sends a 413 to a client that is still writing, costs what uvicorn with
httptools costs and less than half of uvicorn with h11, and finishes what is in flight before it stops.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from functools import partial
from math import ceil
from threading import Thread
from typing import TYPE_CHECKING

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

if TYPE_CHECKING:
    from api.config import Settings
    from api.contract import ContractApp

# Connections beyond these wait in the kernel: the application's own queue is what answers 503.
_BACKLOG = 2048

_ready: ContractApp | None = None


def serve(application: ContractApp, settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in flight, within the shutdown timeout.

    Ends the process with a sentence where it cannot listen.
    """
    global _ready  # noqa: PLW0603  # a forked worker finds the application here
    _ready = application
    Granian(
        "api:create_app",
        address=_address(host, port),
        port=port,
        workers=workers,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        backpressure=_BACKLOG,
        http1_settings=HTTP1Settings(header_read_timeout=ceil(settings.request_timeout_seconds * 1000)),
        log_level=LogLevels(settings.log_level),
        respawn_failed_workers=True,
        workers_kill_timeout=ceil(settings.shutdown_timeout_seconds),
        factory=True,
    ).serve(target_loader=partial(_load, settings.shutdown_timeout_seconds))


def _address(host: str, port: int) -> str:
    """The IP address of a host, with the port free on it: Granian would share it with another Granian, unsaid."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a server that has stopped
            probe.bind(address)
    except OSError as error:
        raise SystemExit(f"Cannot listen on {host}, port {port}: {error.strerror}.") from None
    return str(address[0])


def _load(shutdown_timeout_seconds: float, *_: object) -> ContractApp:
    """The application as it was before the fork; a spawned worker (macOS) makes its own."""
    Thread(target=_follow_parent, args=(shutdown_timeout_seconds,), daemon=True).start()
    if _ready is not None:
        return _ready
    from api.app import create_app

    return create_app()


def _follow_parent(shutdown_timeout_seconds: float) -> None:
    """End a worker whose parent was killed: nobody would replace or stop it, and it would hold on to the port."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # Granian starts workers through multiprocessing
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(shutdown_timeout_seconds)
    os._exit(1)
