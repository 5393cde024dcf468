"""The threads that run handlers. Calls that finish at about the same time wake the event loop only once.

A lane is a queue with its own threads: writers that wait for a lock do not occupy the threads of readers.
"""

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from math import inf
from queue import SimpleQueue
from threading import Lock, Thread
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
        unfinished: "_UnfinishedJobs",
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


class _UnfinishedJobs:
    """The jobs of one event loop that are not answered yet. At its deadline, a job is answered with 503."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._jobs: set[Job] = set()
        self._sweeping = False
        self._finished: deque[Job] = deque()
        self._woken = False

    def add(self, job: Job) -> None:
        self._jobs.add(job)
        if not self._sweeping:
            self._sweeping = True
            self.loop.call_later(SWEEP_SECONDS, self._sweep)

    def remove(self, job: Job) -> None:
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


class Lane:
    """A bounded queue of jobs, and the threads that run them. The first job starts the threads (so after any fork).

    The threads end when the lane is closed or garbage-collected: they refer to its queue, not to the lane.
    """

    def __init__(self, name: str, threads: int, queue_size: int) -> None:
        self._name = name
        self._size = threads
        self._queue_size = queue_size
        self._lock = Lock()
        self._jobs: SimpleQueue[Job | None] | None = None
        self._stop: Callable[[], object] = int

    def put(self, job: Job) -> None:
        """Queue the job of a new request; raises `Unavailable` if the queue is full."""
        with self._lock:
            jobs = self._jobs or self._start()
            if jobs.qsize() >= self._queue_size:
                raise Unavailable
            jobs.put(job)

    def put_next(self, job: Job) -> None:
        """Queue a further job of a request that was accepted before; it is never refused."""
        with self._lock:
            (self._jobs or self._start()).put(job)

    def close(self) -> None:
        """End the threads once the queue is empty; a later job starts new ones."""
        with self._lock:
            self._jobs = None
            self._stop()

    def _start(self) -> "SimpleQueue[Job | None]":
        jobs: SimpleQueue[Job | None] = SimpleQueue()
        for number in range(self._size):
            Thread(target=_run_jobs, args=(jobs,), name=f"{self._name}-{number}", daemon=True).start()
        stop = weakref.finalize(self, _end_threads, jobs, self._size)
        stop.atexit = False
        self._jobs, self._stop = jobs, stop
        return jobs


def _run_jobs(jobs: "SimpleQueue[Job | None]") -> None:
    while (job := jobs.get()) is not None:
        job.run()
        del job  # otherwise this frame would refer to it until the next job comes


def _end_threads(jobs: "SimpleQueue[Job | None]", threads: int) -> None:
    for _ in range(threads):
        jobs.put(None)


class Workers:
    """The threads that run handlers, in two lanes: one for safe methods (RFC 9110, section 9.2.1), one for the others.

    Because of the two lanes, writers that wait for a lock do not occupy the threads of readers. The first request
    starts the threads.

    Args:
        read_threads: The number of threads for the handlers of GET, HEAD, OPTIONS and TRACE.
        write_threads: The number of threads for the other handlers; if 0, the read lane runs all handlers.
        queue_size: The number of requests per lane that may wait for a thread; 503 for further ones (RFC 9110, section
            15.6.4).
        timeout_seconds: The time limit of a request, from the arrival of its head to its answer: a late body is
            refused with 408, a late answer is replaced by 503. A running handler is not interrupted. Each chunk of a
            streamed response has the same limit of its own.
    """

    def __init__(
        self,
        *,
        read_threads: int = 4,
        write_threads: int = 2,
        queue_size: int = 1000,
        timeout_seconds: float = 15.0,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self.read = Lane("read", read_threads, queue_size)
        self.write = Lane("write", write_threads, queue_size) if write_threads else self.read
        self._by_loop: dict[asyncio.AbstractEventLoop, _UnfinishedJobs] = {}

    def deadline(self) -> float:
        """The deadline of a request or chunk that begins now, on the clock `time.monotonic`."""
        return time.monotonic() + self.timeout_seconds

    def run(
        self,
        lane: Lane,
        call: Callable[[], Any],
        deadline: float | None = None,
        discard: Callable[[Any], object] | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Run the call in a thread. Returns its result, or raises its error.

        Raises `Unavailable` if the queue is full or the deadline is past. A result that comes after the deadline, or
        after the caller was cancelled, is passed to `discard`, in the event loop.
        """
        return self._run(lane.put, call, self.deadline() if deadline is None else deadline, discard)

    async def wait(self, future: "asyncio.Future[Any]", deadline: float) -> Any:
        """The result of a future of this event loop, for which no thread is needed; `Unavailable` at the deadline."""
        unfinished = self._unfinished_jobs()
        job = Job(_nothing, future, unfinished, deadline, None)
        unfinished.add(job)
        try:
            return await future
        finally:
            unfinished.remove(job)

    def run_next(self, lane: Lane, call: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
        """As `run`, for a further call of a request that was accepted before; the queue never refuses it."""
        return self._run(lane.put_next, call, self.deadline(), None)

    def run_last(self, lane: Lane, call: Callable[[], Any]) -> "asyncio.Future[Any]":
        """A future of the call. The call is neither refused nor given up, even if the future is cancelled."""
        unfinished = self._unfinished_jobs()
        future: asyncio.Future[Any] = unfinished.loop.create_future()
        lane.put_next(Job(call, future, unfinished, inf, None))
        return asyncio.shield(future)

    def close(self) -> None:
        """End the threads once the queues are empty; a later call starts new ones."""
        self.read.close()
        self.write.close()

    async def _run(
        self,
        put: Callable[[Job], None],
        call: Callable[[], Any],
        deadline: float,
        discard: Callable[[Any], object] | None,
    ) -> Any:
        unfinished = self._unfinished_jobs()
        future: asyncio.Future[Any] = unfinished.loop.create_future()
        job = Job(call, future, unfinished, deadline, discard)
        put(job)
        unfinished.add(job)
        try:
            return await future
        except asyncio.CancelledError:
            job.abandon()
            raise
        finally:
            del future, job  # no reference cycle: they refer to the error, whose traceback refers to this frame

    def _unfinished_jobs(self) -> _UnfinishedJobs:
        loop = asyncio.get_running_loop()
        unfinished = self._by_loop.get(loop)
        if unfinished is None:
            for other in list(self._by_loop):
                if other.is_closed():  # the value refers to its loop, so that weak keys would never be dropped
                    self._by_loop.pop(other, None)
            unfinished = self._by_loop[loop] = _UnfinishedJobs(loop)
        return unfinished


def _nothing() -> None:
    """The call of a job that no thread runs."""
