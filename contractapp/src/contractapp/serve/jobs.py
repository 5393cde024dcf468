"""The calls that threads run, and the handlers that wait in the event loop; both are given up at their deadlines.

Calls that finish at about the same time wake the event loop only once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from contractapp.problems import Unavailable

SWEEP_SECONDS = 0.25


class Job:
    """One call: created in an event loop, run in a thread; the event loop then sets the result.

    A job that was given up drops its references: it may stay in its queue for a long time, its call may refer to the
    body of a request, and its future to an error whose traceback refers to the same body.
    """

    __slots__ = ("_call", "_discard", "_error", "_result", "_unfinished", "deadline", "future")

    def __init__(
        self,
        call: Callable[[], Any],
        future: "asyncio.Future[Any]",
        unfinished: "UnfinishedJobs",
        deadline: float,
        discard: Callable[[Any], object] | None,
    ) -> None:
        self.future: asyncio.Future[Any] | None = future
        self.deadline = deadline
        self._unfinished = unfinished
        self._call: Callable[[], Any] | None = call
        self._discard = discard
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run the call, in a thread. A job that was given up in the queue does not run: it was answered already."""
        call, future = self._call, self.future
        if call is None or future is None or future.done():
            return
        try:
            self._result = call()
        except (StopIteration, asyncio.CancelledError) as error:  # futures give these exceptions another meaning
            self._error = RuntimeError(f"A handler raised {type(error).__name__}.")
            self._error.__cause__ = error
        except BaseException as error:  # noqa: BLE001  # the event loop raises it again
            self._error = error
        self._unfinished.finish(self)
        del self, future  # no reference cycle: they refer to the error, whose traceback refers to this frame

    def settle(self) -> None:
        """Set the result or error of the future, in the event loop, after the job has run."""
        future, result, error = self.future, self._result, self._error
        self._call = self._result = self._error = None
        if error is not None:
            if future is not None and not future.done():
                future.set_exception(error)
        elif future is not None and not future.done():
            future.set_result(result)
        elif self._discard is not None:
            self._discard(result)

    def give_up(self) -> None:
        """Raise `Unavailable` in the caller, in the event loop, at the deadline."""
        future, self._call, self.future = self.future, None, None
        if future is not None and not future.done():
            future.set_exception(Unavailable())

    def abandon(self) -> None:
        """Give up the job in the event loop, because the caller was cancelled; discard a result that it already has."""
        future, self._call, self.future = self.future, None, None
        if future is None or future.cancelled() or not future.done() or future.exception() is not None:
            return
        if self._discard is not None:
            self._discard(future.result())


class Waiter:
    """A handler in the event loop that waits for a future."""

    __slots__ = ("deadline", "future", "is_late")

    def __init__(self, future: "asyncio.Future[Any]", deadline: float) -> None:
        self.future = future
        self.deadline = deadline
        self.is_late = False

    def give_up(self) -> None:
        """Cancel the future at the deadline."""
        self.is_late = True
        self.future.cancel()


class UnfinishedJobs:
    """The jobs and waiters of one event loop that are not answered yet, and given up at their deadlines."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._jobs: set[Job | Waiter] = set()
        self._sweeping = False
        self._finished: deque[Job] = deque()
        self._woken = False

    def add(self, job: Job | Waiter) -> None:
        self._jobs.add(job)
        if not self._sweeping:
            self._sweeping = True
            self.loop.call_later(SWEEP_SECONDS, self._sweep)

    def remove(self, job: Job | Waiter) -> None:
        self._jobs.discard(job)

    def finish(self, job: Job) -> None:
        """Report a finished job, in a thread. Jobs that finish before the event loop reacts share one wake-up."""
        self._finished.append(job)
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._settle)
            except RuntimeError:  # the event loop is closed: no caller waits for the answer
                self._finished.clear()
                self._woken = False

    def _settle(self) -> None:
        self._woken = False  # before the queue is emptied, so that a job that finishes now wakes the loop again
        while self._finished:
            job = self._finished.popleft()
            self._jobs.discard(job)
            job.settle()

    def _sweep(self) -> None:
        now = time.monotonic()
        for job in [job for job in self._jobs if job.deadline <= now or job.future is None]:
            self._jobs.discard(job)
            job.give_up()
        self._sweeping = bool(self._jobs)
        if self._sweeping:
            self.loop.call_later(SWEEP_SECONDS, self._sweep)
