"""The threads that run handlers: a few per lane, and one wake-up of the event loop for all that finished meanwhile.

A lane is a queue with threads of its own, so that work which waits (writers on a lock) leaves threads for the rest.
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
    """One call: made in an event loop, run in a thread, its outcome set in the loop again.

    A job that was given up lets go of everything: it may have to stay in its queue for long, its call may hold a
    request's body, and its future an error whose traceback holds the same.
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
        """Called in a thread. A job that was given up while it waited does not run: it was answered already."""
        call, future = self._call, self.future
        if call is None or future is None or future.done():
            return
        try:
            self._result = call()
        except (StopIteration, asyncio.CancelledError) as error:  # a future means something else by them
            self._error = RuntimeError(f"A handler raised {type(error).__name__}.")
            self._error.__cause__ = error
        except BaseException as error:  # noqa: BLE001  # whatever it is, the loop raises it again
            self._error = error
        self._unfinished.finish(self)
        del self, future  # which hold the error, and the error's traceback this frame: they must be no cycle

    def settle(self) -> None:
        """Called in the loop, once the job has run: its future gets the outcome."""
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
        """Called in the loop at the deadline: the caller gets `Unavailable`."""
        future, self._call, self.future = self.future, None, None
        if future is not None and not future.done():
            future.set_exception(Unavailable())

    def forsake(self) -> None:
        """Called in the loop: the caller was cancelled, and will not take the result if it is there already."""
        future, self._call, self.future = self.future, None, None
        if future is None or future.cancelled() or not future.done() or future.exception() is not None:
            return
        if self._discard is not None:
            self._discard(future.result())


class _UnfinishedJobs:
    """The jobs of one event loop: answered as they finish, or 503 at their deadline."""

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

    def finish(self, job: Job) -> None:
        """Called in a thread. Any number of jobs that finish meanwhile cost one wake-up of the loop."""
        self._finished.append(job)
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._settle)
            except RuntimeError:  # the loop was closed meanwhile: nobody waits for the answer
                self._finished.clear()
                self._woken = False

    def _settle(self) -> None:
        self._woken = False  # before the queue is emptied: a job that finishes now wakes the loop again
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
    """A bounded queue of jobs and the threads that empty it, started by the first job (so after any fork).

    The threads end when the lane is closed or no longer referenced: they hold its queue alone.
    """

    def __init__(self, name: str, threads: int, queue_size: int) -> None:
        self._name = name
        self._size = threads
        self._queue_size = queue_size
        self._lock = Lock()
        self._jobs: SimpleQueue[Job | None] | None = None
        self._stop: Callable[[], object] = int

    def put(self, job: Job) -> None:
        """Queue a new job; raises `Unavailable` when the queue is full."""
        with self._lock:
            jobs = self._jobs or self._start()
            if jobs.qsize() >= self._queue_size:
                raise Unavailable
            jobs.put(job)

    def put_next(self, job: Job) -> None:
        """Queue a further job of a request that was let in before: it is never refused."""
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
        del job  # or it would be held until the next one comes


def _end_threads(jobs: "SimpleQueue[Job | None]", threads: int) -> None:
    for _ in range(threads):
        jobs.put(None)


class Workers:
    """The threads that run handlers, in two lanes: one for safe methods (RFC 9110, section 9.2.1), one for the rest.

    With a lane of their own, writers that wait for a lock leave threads to readers. The first request starts them.

    Args:
        read_threads: How many run the handlers of GET, HEAD, OPTIONS and TRACE.
        write_threads: How many run the other handlers; 0 gives both kinds the read lane.
        queue_size: How many requests may wait for a thread, per lane; 503 beyond (RFC 9110, section 15.6.4).
        timeout_seconds: How long a request may take, from its head to its answer: a body that is late is refused with
            408, an answer that is late replaced by 503. A handler that runs is not interrupted. Each chunk of a
            streamed response has this time anew.
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
        """When a request, or a chunk, that begins now has to be done, on the clock of `time.monotonic`."""
        return time.monotonic() + self.timeout_seconds

    def run(
        self,
        lane: Lane,
        call: Callable[[], Any],
        deadline: float | None = None,
        discard: Callable[[Any], object] | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """The call's result, or what it raised; `Unavailable` when the queue is full or the deadline is past.

        A result that came after the deadline, or after the caller was cancelled, is given to `discard`, in the loop.
        """
        return self._run(lane.put, call, self.deadline() if deadline is None else deadline, discard)

    def run_next(self, lane: Lane, call: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
        """As `run`, for a further call of a request that was let in before: the queue never refuses it."""
        return self._run(lane.put_next, call, self.deadline(), None)

    def run_last(self, lane: Lane, call: Callable[[], Any]) -> "asyncio.Future[Any]":
        """A future of the call, which is neither refused nor given up: cancelling the future does not stop it."""
        unfinished = self._unfinished_jobs()
        future: asyncio.Future[Any] = unfinished.loop.create_future()
        lane.put_next(Job(call, future, unfinished, inf, None))
        return asyncio.shield(future)

    def close(self) -> None:
        """End the threads once they have done what is queued; a later call starts new ones."""
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
            job.forsake()
            raise
        finally:
            del future, job  # which hold the error, and the error's traceback this frame: they must be no cycle

    def _unfinished_jobs(self) -> _UnfinishedJobs:
        loop = asyncio.get_running_loop()
        unfinished = self._by_loop.get(loop)
        if unfinished is None:
            for other in list(self._by_loop):
                if other.is_closed():  # the value knows its loop, so that no weak reference would ever let go
                    self._by_loop.pop(other, None)
            unfinished = self._by_loop[loop] = _UnfinishedJobs(loop)
        return unfinished
