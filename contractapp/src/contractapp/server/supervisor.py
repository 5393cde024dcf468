"""Several workers and their supervisor, which starts and stops them, and replaces those that die.

If the application is loaded, workers are forked: they share its memory and start at once. Otherwise they are spawned,
and each loads the application itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import Multiprocess, multiprocess

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

# The time after the shutdown timeout in which a worker must end.
_GRACE_SECONDS = 1.0

_STOP = (signal.SIGTERM, signal.SIGINT)


def can_fork() -> bool:
    """Whether several workers can share one application. On macOS, a forked process can crash in system libraries."""
    return "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"


def available_cores() -> int:
    """The number of cores that this process may use, by its CPU affinity and by the CPU quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, ceil(cpu_quota())))


def cpu_quota(process: Path = Path("/proc/self"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """The CPUs that control groups (version 2) let a process use: the least of its group and the groups above."""
    try:
        lines = (process / "cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return sys.maxsize
    quota: float = sys.maxsize
    for group in [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]:
        for folder in (root / group, *(root / group).parents):
            limit = folder / "cpu.max"
            if folder.is_relative_to(root) and limit.exists():
                microseconds, period = limit.read_text().split()
                quota = min(quota, sys.maxsize if microseconds == "max" else int(microseconds) / int(period))
    return quota


class NotShareable(TypeError):
    """Several workers cannot share an application; the message says why."""


def require_shareable() -> None:
    """Raise `NotShareable` if workers that are forked from this process would not work."""
    if not can_fork():
        raise NotShareable("On this system, workers cannot share an application: give its name, as module:name.")
    started = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if started:
        raise NotShareable(
            f"Workers that share an application would lack its thread {started[0]!r}: give the application's name, as "
            "module:name, or start threads later."
        )


def on_stop(handler: Callable[..., Any] | signal.Handlers) -> None:
    """Handle both signals that stop a server in this way."""
    for number in _STOP:
        signal.signal(number, handler)


class Server(uvicorn.Server):
    """A server that ends the application's lifespan also after a second SIGINT, which makes uvicorn 0.54 skip it."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], object] = int) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; report it."""
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; at the second SIGINT, without waiting for the requests in flight."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()


class _Worker(multiprocess.Process):
    """A worker as uvicorn's supervisor sees it. uvicorn 0.54 always spawns it."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], *, supervisor: Supervisor) -> None:
        super().__init__(config, sockets)
        if config.loaded:
            run = partial(supervisor.run_forked, self.target, sockets)
            self.process = multiprocessing.get_context("fork").Process(target=run)  # type: ignore[assignment]

    @property
    def server(self) -> uvicorn.Server:
        if self._server is None:
            self._server = Server(self.config)
        return self._server


class Supervisor(Multiprocess):
    """The supervisor of `config.workers` workers, which serve the listeners."""

    def __init__(
        self, config: uvicorn.Config, listeners: list[socket.socket], on_started: Callable[[], object] = int
    ) -> None:
        super().__init__(config, listeners)
        self._on_started: Callable[[], object] | None = on_started
        self._lifeline = os.pipe()  # the supervisor alone keeps the end for writing, which is closed when it ends
        # uvicorn has no other way to choose the class; `test_workers_share_an_application` fails if it is not used.
        multiprocess.Process = partial(_Worker, supervisor=self)  # type: ignore[assignment,misc]

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that died; report when all have started."""
        super().keep_subprocess_alive()
        if self._on_started and all(process.is_ready() for process in self.processes):
            self._on_started()
            self._on_started = None

    def terminate_all(self) -> None:
        """Ask all workers to stop."""
        for listener in self.sockets:
            listener.close()  # otherwise the kernel would still accept connections, which no worker serves
        super().terminate_all()

    def join_all(self) -> None:
        """Wait for all workers; kill those that do not stop in time."""
        deadline = time.monotonic() + grace_seconds(self.config)
        for process in self.processes:
            process.process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:  # still running
                process.kill()
        super().join_all()

    def run_forked(self, target: Callable[..., None], sockets: list[socket.socket]) -> None:
        """Run a worker that was forked from this process."""
        for number in multiprocess.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        on_stop(lambda *_: sys.exit(0))
        if not set(_STOP).isdisjoint(self.signal_queue):  # a signal came before the line above
            sys.exit(0)
        reading, writing = self._lifeline
        os.close(writing)
        follow_parent(partial(os.read, reading, 1), grace_seconds(self.config))
        target(sockets)


def grace_seconds(config: uvicorn.Config) -> float:
    """The time in which a worker must end."""
    return (config.timeout_graceful_shutdown or 0) + _GRACE_SECONDS


def follow_parent(wait: Callable[[], object], seconds: float) -> None:
    """End this worker when its parent ended: no process would stop it, and it would occupy the port.

    Args:
        wait: Returns when the parent has ended.
        seconds: The time in which the worker must end.
    """
    threading.Thread(target=_end_after, args=(wait, seconds), daemon=True).start()


def _end_after(wait: Callable[[], object], seconds: float) -> None:
    wait()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(seconds)
    os._exit(1)
