"""Runs handlers in the thread of the event loop, each in a greenlet of its own.

A handler that has to wait suspends its greenlet, and the event loop serves other requests meanwhile. Handing a request
to a thread and back costs 20 µs if the process has one core, and several times as much if it has more (benchmarks).
"""

from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from functools import partial
from threading import local
from time import monotonic
from typing import Any, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

from contractapp.serve.workers import Workers

# As many greenlets of a thread are kept for later calls; each takes about 20 kB.
_MAX_FREE = 100


T = TypeVar("T")


class Handler(greenlet):
    """A greenlet that runs one call after another. `context` holds the context variables of the call.

    `longest` is the longest time in seconds for which the call occupied the event loop.
    """

    context: Context
    workers: Workers
    deadline: float
    longest: float
    result: Any = None
    failure: BaseException | None = None
    is_finished = True

    def run(self) -> None:
        """Run the calls that it is given, one after another."""
        while True:
            call = self.pause()
            self.is_finished = False
            try:
                self.result = call()
            except GreenletExit:  # nobody waits for the result
                raise
            except BaseException as error:  # noqa: BLE001  # `take` raises it again
                self.failure = error
            del call
            self.is_finished = True

    def pause(self, waiting: Awaitable[Any] | None = None) -> Any:
        """Let the event loop go on; returns what it gives when it switches back: a call, or the result of `waiting`."""
        event_loop: Any = self.parent
        return event_loop.switch(waiting)

    def take(self) -> Any:
        """The result of the finished call, or its error; the greenlet is free for another call."""
        result, error = self.result, self.failure
        self.result = self.failure = None
        self.gr_context = None
        del self.context, self.workers  # they refer to the request and the application
        free = _free()
        if len(free) < _MAX_FREE:
            free.append(self)
        if error is not None:
            try:
                raise error
            finally:
                del error  # no reference cycle with the traceback
        return result

    async def finish(self, waiting: Awaitable[Any]) -> Any:
        """The result of the call, which waits for `waiting` now. Returns or raises what the call does."""
        while not self.is_finished:
            try:
                value = await waiting
            except BaseException as error:  # noqa: BLE001  # the handler may clean up
                waiting = self.occupy(self.throw, error)
            else:
                waiting = self.occupy(self.switch, value)
        return self.take()

    def occupy(self, go_on: Callable[[Any], Any], given: Any) -> Any:
        """Let the call go on until it has finished or waits; returns what it waits for."""
        self.parent = getcurrent()  # the event loop may run in another greenlet than when this one was made
        began = monotonic()
        waiting = go_on(given)
        self.longest = max(self.longest, monotonic() - began)
        return waiting


_threads = local()


def _free() -> list[Handler]:
    """The greenlets of this thread that run no call; creating one takes 10 µs."""
    try:
        free: list[Handler] = _threads.free
    except AttributeError:
        free = _threads.free = []
    return free


def _new() -> Handler:
    handler = Handler()
    handler.switch()
    return handler


def start(call: Callable[[], Any], workers: Workers, deadline: float) -> tuple[Handler, Any]:
    """Run a call until it has finished or waits; returns what it waits for."""
    free = _free()
    handler = free.pop() if free else _new()
    handler.workers, handler.deadline = workers, deadline
    handler.longest = 0.0
    handler.context = handler.gr_context = copy_context()
    return handler, handler.occupy(handler.switch, call)


def wait(awaitable: Awaitable[Any]) -> Any:
    """The result of a coroutine, task or future of the event loop, for which a handler that runs there waits.

    At the deadline of the request, what is waited for is cancelled, and `Unavailable` is raised. Raises `RuntimeError`
    if the caller is no such handler.
    """
    current = getcurrent()
    if type(current) is not Handler:
        raise RuntimeError("Only an inline handler can wait in the event loop.")
    return current.pause(current.workers.wait(awaitable, current.deadline))


def in_event_loop() -> bool:
    """Whether the caller is a handler that runs in the event loop: it must not block, and may `wait`."""
    return type(getcurrent()) is Handler


def in_thread(call: Callable[[], T], *, write: bool = False) -> T:
    """The result of a call that may block: in a worker thread, if the event loop is running the current handler.

    The call sees the handler's context variables, such as `flask.g`. Raises `Unavailable` at the deadline of the
    request, or if too many calls wait for a thread.
    """
    current = getcurrent()
    if type(current) is not Handler:
        return call()
    workers = current.workers
    lane = workers.write if write else workers.read
    result: T = current.pause(workers.run(lane, partial(copy_context().run, call), current.deadline))
    return result
