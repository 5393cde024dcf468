"""The threads that run handlers.

A lane is a queue with its own threads: writers that wait for a lock do not occupy the threads of readers.
"""

import asyncio
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from math import inf
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from contractapp.problems import Unavailable
from contractapp.serve.jobs import Job, UnfinishedJobs, Waiter


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
        self._by_loop: dict[asyncio.AbstractEventLoop, UnfinishedJobs] = {}

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

    async def wait(self, awaitable: Awaitable[Any], deadline: float) -> Any:
        """The result of a coroutine, task or future of this event loop, for which no thread is needed.

        At the deadline, it is cancelled, and `Unavailable` is raised.
        """
        unfinished = self._unfinished_jobs()
        waiter = Waiter(asyncio.ensure_future(awaitable), deadline)
        unfinished.add(waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.is_late:
                raise Unavailable from None
            raise
        finally:
            unfinished.remove(waiter)
            del waiter  # no reference cycle: its future refers to the error, whose traceback refers to this frame

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

    def _unfinished_jobs(self) -> UnfinishedJobs:
        loop = asyncio.get_running_loop()
        unfinished = self._by_loop.get(loop)
        if unfinished is None:
            for other in list(self._by_loop):
                if other.is_closed():  # the value refers to its loop, so that weak keys would never be dropped
                    self._by_loop.pop(other, None)
            unfinished = self._by_loop[loop] = UnfinishedJobs(loop)
        return unfinished
