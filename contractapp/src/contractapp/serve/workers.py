"""The threads that run handlers: a few per lane, one hop there and one wake-up back for whatever finished meanwhile.

A lane is a queue with threads of its own, so that work which waits (writers on a lock) leaves threads for the rest.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from contractapp.problems import Unavailable

SWEEP_SECONDS = 0.25


class Job:
    """One call: made in a loop, run in a thread, answered in the loop again."""

    __slots__ = ("call", "deadline", "error", "future", "home", "result")

    def __init__(self, call: Callable[[], Any], home: "_Home", deadline: float) -> None:
        self.call = call
        self.home = home
        self.future: asyncio.Future[Any] = home.loop.create_future()
        self.deadline = deadline
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        if self.future.done():  # given up while it waited: it must not run after its 503
            return
        try:
            self.result = self.call()
        except StopIteration as error:  # which no future takes
            self.error = RuntimeError("A handler raised StopIteration.")
            self.error.__cause__ = error
        except BaseException as error:  # noqa: BLE001  # whatever it is, the loop raises it again
            self.error = error
        self.home.finish(self)

    def settle(self) -> None:
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class _Home:
    """The completions of one event loop: any number of finished jobs cost one wake-up of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._finished: deque[Job] = deque()
        self._woken = False
        self._waiting: deque[Job] = deque()
        self._sweeping = False

    def expect(self, job: Job) -> None:
        """Answer the job 503 once its deadline is past, wherever it then is."""
        waiting = self._waiting
        while waiting and waiting[0].future.done():
            waiting.popleft()
        waiting.append(job)
        if not self._sweeping:
            self._sweeping = True
            self.loop.call_later(SWEEP_SECONDS, self._sweep)

    def finish(self, job: Job) -> None:
        self._finished.append(job)
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._settle)
            except RuntimeError:  # the loop was closed meanwhile: nobody waits for the answer
                self._finished.clear()

    def _settle(self) -> None:
        self._woken = False  # before the queue is emptied: a job that finishes now wakes the loop again
        while self._finished:
            self._finished.popleft().settle()

    def _sweep(self) -> None:
        waiting, now = self._waiting, time.monotonic()
        while waiting and (waiting[0].future.done() or waiting[0].deadline <= now):
            job = waiting.popleft()
            if not job.future.done():
                job.future.set_exception(Unavailable())
        self._sweeping = bool(waiting)
        if self._sweeping:
            self.loop.call_later(SWEEP_SECONDS, self._sweep)


class Lane:
    """A bounded queue of jobs and the threads that empty it, started by the first job (so after any fork)."""

    def __init__(self, name: str, threads: int, queue_size: int) -> None:
        self._name = name
        self._size = threads
        self._queue_size = queue_size
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._started = False
        self._starting = Lock()

    def put(self, job: Job) -> None:
        if not self._started:
            self._start()
        if self._jobs.qsize() >= self._queue_size:
            raise Unavailable
        self._jobs.put(job)

    def _start(self) -> None:
        with self._starting:
            if self._started:
                return
            for number in range(self._size):
                Thread(target=self._work, name=f"{self._name}-{number}", daemon=True).start()
            self._started = True

    def _work(self) -> None:
        jobs = self._jobs
        while True:
            jobs.get().run()


class Workers:
    """The threads that run handlers, in two lanes: one for safe methods (RFC 9110, section 9.2.1), one for the rest.

    With a lane of their own, writers that wait for a lock leave threads to readers. The first request starts them.

    Args:
        read_threads: How many run the handlers of GET, HEAD, OPTIONS and TRACE.
        write_threads: How many run the other handlers; 0 gives both kinds the read lane.
        queue_size: How many requests may wait for a thread, per lane; 503 beyond (RFC 9110, section 15.6.4).
        timeout_seconds: How long a request may wait and run; 503 beyond. A handler that runs is not interrupted.
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
        self._homes: dict[asyncio.AbstractEventLoop, _Home] = {}

    async def run(self, lane: Lane, call: Callable[[], Any]) -> Any:
        """The call's result, or what it raised; `Unavailable` when the queue is full or the time is up."""
        loop = asyncio.get_running_loop()
        home = self._homes.get(loop)
        if home is None:
            for other in list(self._homes):
                if other.is_closed():  # a home knows its loop, so that no weak reference would ever let go
                    self._homes.pop(other, None)
            home = self._homes[loop] = _Home(loop)
        job = Job(call, home, time.monotonic() + self.timeout_seconds)
        lane.put(job)
        home.expect(job)
        return await job.future
