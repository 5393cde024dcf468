"""Connections to PostgreSQL for handlers that run in the event loop: a handler waits for the socket, not a thread."""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait
from sqlalchemy import Engine, event

from api.config import Settings
from api.database.compilation import Parameters, Rows, Statement
from api.database.engines import reader_options
from api.database.statements import Explain, Open, StatementRunner
from contractapp import Unavailable, in_event_loop, in_thread, wait

T = TypeVar("T")


class WaitingConnection(psycopg.Connection[Any]):
    """A connection whose calls wait in the event loop, if a handler that runs there makes them.

    The event loop watches a duplicate of the socket all the time: to begin and end watching takes as long as a
    statement. libpq may close its own socket at any time, and another file would get its number.
    """

    _loop: asyncio.AbstractEventLoop | None = None
    _watched = -1
    _steps: PQGen[Any] | None = None
    _done: asyncio.Future[Any]
    _writes = False

    def wait(self, gen: PQGen[T], *arguments: Any, **options: Any) -> T:
        """The result of a generator of psycopg, which says for what the socket must be ready."""
        if not in_event_loop():
            return super().wait(gen, *arguments, **options)
        try:
            needed = next(gen)
        except StopIteration as stop:
            result: T = stop.value
            return result
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._watch(loop)
        self._steps, self._done = gen, loop.create_future()
        self._need(needed)
        try:
            result = wait(self._done)
        finally:
            self._steps = None
            self._need(Wait.R)
        return result

    def close(self) -> None:
        """Close the connection, in any thread."""
        self._unwatch()
        super().close()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._unwatch()
        self._watched = os.dup(self.pgconn.socket)
        loop.add_reader(self._watched, self._go_on, Ready.R)
        self._loop = loop

    def _unwatch(self) -> None:
        loop, watched = self._loop, self._watched
        self._loop, self._watched, self._writes = None, -1, False
        if loop is None:
            return
        if loop is _running_loop():
            _end_watching(loop, watched)
            return
        try:
            loop.call_soon_threadsafe(_end_watching, loop, watched)
        except RuntimeError:  # the event loop is closed
            os.close(watched)

    def _go_on(self, ready: Ready) -> None:
        """Called by the event loop when the socket is ready."""
        if self._steps is None:  # no handler waits: the server closed the connection, or a thread uses it
            self._unwatch()
            return
        try:
            self._need(self._steps.send(ready))
        except StopIteration as stop:
            self._finish(self._done.set_result, stop.value)
        except Exception as error:  # noqa: BLE001  # the handler gets it
            self._finish(self._done.set_exception, error)

    def _finish(self, set_outcome: Callable[[Any], None], outcome: Any) -> None:
        self._steps = None
        if not self._done.done():
            set_outcome(outcome)

    def _need(self, needed: Wait) -> None:
        """Watch for the socket being writable only while that is needed: it nearly always is."""
        writes = bool(needed & Wait.W)
        if writes != self._writes and self._loop is not None:
            self._writes = writes
            if writes:
                self._loop.add_writer(self._watched, self._go_on, Ready.W)
            else:
                self._loop.remove_writer(self._watched)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _end_watching(loop: asyncio.AbstractEventLoop, watched: int) -> None:
    loop.remove_reader(watched)
    loop.remove_writer(watched)
    os.close(watched)


def waiting_runners(
    settings: Settings, another: Callable[[dict[str, Any]], Engine]
) -> "tuple[WaitingRunner, WaitingRunner]":
    """The runners for reads and for changes; `another` makes an engine for the application's database.

    A change is in AUTOCOMMIT mode one round trip instead of three.
    """
    options = reader_options(settings)
    reads = WaitingRunner(
        another(options), connections=settings.read_threads, queue_size=settings.queue_size, write=False
    )
    changes = WaitingRunner(
        another({**options, "pool_size": settings.write_threads}),
        connections=settings.write_threads,
        queue_size=settings.queue_size,
        write=True,
    )
    return reads, changes


def _connect(_dialect: object, _entry: object, arguments: Any, options: Any) -> WaitingConnection:
    return WaitingConnection.connect(*arguments, **options)


class WaitingRunner(StatementRunner):
    """Runs statements for handlers in the event loop, on a fixed number of connections.

    A handler waits until one is free, but at most `queue_size` handlers wait. New connections are opened in threads.
    One event loop uses the runner until it is closed: only its thread may touch what is watched and who waits.
    """

    def __init__(self, engine: Engine, *, connections: int, queue_size: int, write: bool) -> None:
        super().__init__(engine)
        event.listen(engine, "do_connect", _connect)
        self._free = connections
        self._queue_size = queue_size
        self._queue: deque[asyncio.Future[None]] = deque()
        self._write = write
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = Lock()

    @property
    def is_usable(self) -> bool:
        """Whether the running event loop, and no other one, uses the runner."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            with self._lock:
                if self._loop is None or self._loop.is_closed():
                    self._loop = loop
        return self._loop is loop

    def _run(
        self, statement: Statement, parameters: Parameters, *, commit: bool, explain: Explain | None = None
    ) -> Rows:
        self._acquire()
        try:
            return super()._run(statement, parameters, commit=commit, explain=explain)
        finally:
            self._pass_on()

    def _run_through_sqlalchemy(
        self, statement: Statement, parameters: Parameters, *, commit: bool, explain: Explain | None = None
    ) -> Rows:
        run = partial(super()._run_through_sqlalchemy, statement, parameters, commit=commit, explain=explain)
        rows: Rows = in_thread(run, write=self._write)
        return rows

    def _take(self) -> Open:
        if self._idle:
            return self._idle.pop()
        taken: Open = in_thread(super()._take, write=self._write)
        return taken

    def _acquire(self) -> None:
        """Wait for the right to use a connection."""
        if self._free > 0:
            self._free -= 1
            return
        if len(self._queue) >= self._queue_size:
            raise Unavailable
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            wait(turn)
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on()  # it was this handler's turn already
            else:
                with suppress(ValueError):  # taken from the queue meanwhile
                    self._queue.remove(turn)
            raise

    def _pass_on(self) -> None:
        """Give the right to use a connection to the next handler that waits."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
