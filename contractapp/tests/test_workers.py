"""The threads that run handlers."""

import asyncio
import gc
import threading
import time
import weakref
from contextlib import suppress
from functools import partial
from typing import ClassVar

import pytest

from contractapp import Workers
from contractapp.problems import Unavailable


@pytest.fixture
def gate():
    """An event for which threads wait; it is set at the end of the test in any case."""
    gate = threading.Event()
    yield gate
    gate.set()


class Thing:
    """An object that can be referenced weakly."""


class Fault(Exception):
    """As above. It records itself when it is made, since a variable would put it and its traceback into a cycle."""

    made: ClassVar[list[weakref.ref]] = []

    def __init__(self):
        self.made.append(weakref.ref(self))


def freed(*references):
    """Whether the referenced objects are freed after the threads have dropped them."""
    deadline = time.monotonic() + 10
    while any(reference() is not None for reference in references) and time.monotonic() < deadline:
        time.sleep(0.001)
    return [reference() for reference in references] == [None] * len(references)


def test_a_call_gives_its_result_from_another_thread():
    workers = Workers()

    result = asyncio.run(workers.run(workers.read, lambda: threading.current_thread().name))

    assert result.startswith("read-")


def test_a_call_raises_what_it_raised():
    workers = Workers()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(workers.run(workers.write, lambda: 1 // 0))


def test_an_exception_that_a_future_cannot_take_becomes_an_error():
    workers = Workers(read_threads=1, timeout_seconds=5)

    async def main():
        calls = (workers.run(workers.read, lambda: next(iter([]))), workers.run(workers.read, lambda: 1))
        return await asyncio.gather(*calls, return_exceptions=True)

    began = time.monotonic()
    error, result = asyncio.run(main())

    assert isinstance(error, RuntimeError)
    assert isinstance(error.__cause__, StopIteration)
    assert result == 1
    assert time.monotonic() - began < 2


def test_waiting_writes_do_not_occupy_the_threads_of_reads(gate):
    workers = Workers(read_threads=1, write_threads=1)

    async def main():
        write = asyncio.ensure_future(workers.run(workers.write, gate.wait))
        read = await asyncio.wait_for(workers.run(workers.read, lambda: "read"), 5)
        gate.set()
        return read, await write

    assert asyncio.run(main()) == ("read", True)


def test_without_write_threads_all_calls_share_one_lane():
    workers = Workers(read_threads=1, write_threads=0)

    assert workers.write is workers.read


def test_503_when_the_queue_is_full(gate):
    workers = Workers(read_threads=1, queue_size=2)
    started = threading.Event()

    async def main():
        running = asyncio.ensure_future(workers.run(workers.read, lambda: started.set() or gate.wait()))
        await asyncio.to_thread(started.wait, 5)
        waiting = [asyncio.ensure_future(workers.run(workers.read, lambda: "served")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await workers.run(workers.read, lambda: "too many")
        gate.set()
        return await asyncio.gather(running, *waiting)

    assert asyncio.run(main()) == [True, "served", "served"]


def test_503_at_the_deadline_and_a_waiting_call_never_runs(gate):
    workers = Workers(read_threads=1, timeout_seconds=0.1)
    ran = []

    async def main():
        running = asyncio.ensure_future(workers.run(workers.read, gate.wait))
        waiting = asyncio.ensure_future(workers.run(workers.read, lambda: ran.append("late")))
        begun = time.monotonic()
        outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
        waited = time.monotonic() - begun
        gate.set()
        last = await workers.run(workers.read, lambda: "served again")
        return outcomes, waited, last

    outcomes, waited, last = asyncio.run(main())

    assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
    assert 0.1 <= waited < 2
    assert (last, ran) == ("served again", [])


def test_a_waiting_call_of_a_cancelled_caller_never_runs(gate):
    workers = Workers(read_threads=1)
    ran = []

    async def main():
        running = asyncio.ensure_future(workers.run(workers.read, gate.wait))
        waiting = asyncio.ensure_future(workers.run(workers.read, lambda: ran.append("late")))
        await asyncio.sleep(0.01)
        waiting.cancel()
        gate.set()
        await running
        return await workers.run(workers.read, lambda: "served again")

    assert (asyncio.run(main()), ran) == ("served again", [])


def test_every_call_is_answered_under_load():
    workers = Workers(read_threads=4, write_threads=2)

    async def main():
        calls = [workers.run(workers.read if n % 3 else workers.write, lambda n=n: n) for n in range(900)]
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == list(range(900))


def test_several_loops_share_the_threads():
    workers = Workers(read_threads=2)
    results = []

    def loop(number):
        async def main():
            return [await workers.run(workers.read, lambda n=n: (number, n)) for n in range(50)]

        results.append(asyncio.run(main()))

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted(results) == [[(number, n) for n in range(50)] for number in range(4)]


def test_a_call_may_end_after_its_loop_was_closed(gate):
    workers = Workers(read_threads=1)

    async def give_up():
        asyncio.ensure_future(workers.run(workers.read, gate.wait))  # noqa: RUF006  # it is never awaited
        await asyncio.sleep(0.01)

    asyncio.run(give_up())
    gate.set()

    assert asyncio.run(workers.run(workers.read, lambda: "served")) == "served"


def test_closed_loops_are_forgotten():
    workers = Workers(read_threads=1)
    for _ in range(20):
        asyncio.run(workers.run(workers.read, int))

    assert len(workers._by_loop) < 5


def test_answered_calls_are_not_kept_behind_a_slow_call(gate):
    workers = Workers(read_threads=1, write_threads=1)

    async def main():
        slow = asyncio.ensure_future(workers.run(workers.write, gate.wait))
        things = [weakref.ref(await workers.run(workers.read, Thing)) for _ in range(20)]
        waiting = not slow.done()
        are_freed = await asyncio.to_thread(freed, *things)
        gate.set()
        return waiting, are_freed, await slow

    assert asyncio.run(main()) == (True, True, True)


def test_a_call_that_was_given_up_drops_its_references_while_it_stays_queued(gate):
    workers = Workers(read_threads=1, timeout_seconds=0.1)

    def call(thing):
        return thing

    async def main():
        stuck = asyncio.ensure_future(workers.run(workers.read, gate.wait))
        await asyncio.sleep(0.01)
        thing = Thing()
        reference = weakref.ref(thing)
        waiting = asyncio.ensure_future(workers.run(workers.read, partial(call, thing)))
        del thing
        outcomes = [type(outcome) for outcome in await asyncio.gather(stuck, waiting, return_exceptions=True)]
        del stuck, waiting  # their errors refer to the frames
        return outcomes, await asyncio.to_thread(freed, reference)

    assert asyncio.run(main()) == ([Unavailable, Unavailable], True)


def test_an_error_is_not_part_of_a_reference_cycle(gate):
    """Otherwise the objects that it refers to, such as a body of a megabyte, would not be freed at once."""
    workers = Workers()
    Fault.made.clear()

    def fail():
        raise Fault

    async def main():
        with suppress(Fault):
            await workers.run(workers.read, fail)
        await workers.run(workers.read, int)

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
        (error,) = Fault.made
        assert freed(error)
    finally:
        gc.enable()


def test_a_cancellation_raised_by_a_call_is_an_error():
    workers = Workers()

    def cancel():
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="A handler raised CancelledError"):
        asyncio.run(workers.run(workers.read, cancel))


def ended(threads):
    for thread in threads:
        thread.join(10)
    return not any(thread.is_alive() for thread in threads)


def started_by(workers):
    """The threads that the workers start for their first call."""
    before = set(threading.enumerate())
    asyncio.run(workers.run(workers.read, int))
    asyncio.run(workers.run(workers.write, int))
    return set(threading.enumerate()) - before


def test_threads_end_when_their_workers_are_freed():
    workers = Workers()
    threads = started_by(workers)
    del workers

    assert len(threads) == 6
    assert ended(threads)


def test_threads_end_when_closed_and_a_later_call_starts_new_ones(gate):
    workers = Workers()
    first = started_by(workers)
    workers.close()
    workers.close()
    closed = ended(first)
    second = started_by(workers)

    assert closed
    assert (len(first), len(second)) == (6, 6)


def test_queued_calls_run_before_the_threads_end(gate):
    workers = Workers(read_threads=1)

    async def main():
        calls = [asyncio.ensure_future(workers.run(workers.read, gate.wait)) for _ in range(3)]
        await asyncio.sleep(0.01)
        workers.close()
        gate.set()
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == [True] * 3


@pytest.mark.parametrize("comes", ["after the deadline", "after a cancellation", "with a cancellation"])
def test_a_result_without_a_caller_is_passed_to_discard(gate, comes):
    workers = Workers(timeout_seconds=0.05 if comes == "after the deadline" else 15)
    started, discarded = threading.Event(), threading.Event()
    results = []

    def call():
        started.set()
        gate.wait(10)
        return "late"

    def discard(result):
        results.append(result)
        discarded.set()

    async def main():
        task = asyncio.ensure_future(workers.run(workers.read, call, discard=discard))
        await asyncio.to_thread(started.wait, 10)
        if comes == "with a cancellation":
            gate.set()
            time.sleep(0.05)  # noqa: ASYNC251  # when the loop continues, it finds both: the result, then the cancellation
            asyncio.get_running_loop().call_soon(task.cancel)
        elif comes == "after a cancellation":
            task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        gate.set()
        await asyncio.to_thread(discarded.wait, 10)
        return type(outcome)

    outcome = asyncio.run(main())

    assert outcome is (Unavailable if comes == "after the deadline" else asyncio.CancelledError)
    assert results == ["late"]


def test_the_last_call_runs_even_if_its_future_is_cancelled(gate):
    workers = Workers(read_threads=1, queue_size=0, timeout_seconds=0.05)
    ran = threading.Event()

    async def main():
        stuck = asyncio.ensure_future(workers.run_next(workers.read, gate.wait))
        await asyncio.sleep(0.01)
        workers.run_last(workers.read, ran.set).cancel()
        return await asyncio.gather(stuck, return_exceptions=True)

    asyncio.run(main())
    gate.set()

    assert ran.wait(10)
