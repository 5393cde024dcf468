"""The threads that run handlers."""

import asyncio
import threading
import time

import pytest

from contractapp import Workers
from contractapp.problems import Unavailable


@pytest.fixture
def gate():
    """An event that holds threads up; opened in the end whatever happens."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_a_call_gives_its_result_from_another_thread():
    workers = Workers()

    result = asyncio.run(workers.run(workers.read, lambda: threading.current_thread().name))

    assert result.startswith("read-")


def test_a_call_raises_what_it_raised():
    workers = Workers()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(workers.run(workers.write, lambda: 1 // 0))


def test_what_no_future_takes_is_an_error_and_keeps_nobody_waiting():
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


def test_writes_that_wait_leave_threads_for_reads(gate):
    workers = Workers(read_threads=1, write_threads=1)

    async def main():
        write = asyncio.ensure_future(workers.run(workers.write, gate.wait))
        read = await asyncio.wait_for(workers.run(workers.read, lambda: "read"), 5)
        gate.set()
        return read, await write

    assert asyncio.run(main()) == ("read", True)


def test_without_write_threads_everything_takes_its_turn_in_one_lane():
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


def test_503_at_the_deadline_and_what_waited_never_runs(gate):
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


def test_a_call_whose_caller_went_away_never_runs(gate):
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


def test_a_call_that_ends_after_its_loop_was_closed_harms_nobody(gate):
    workers = Workers(read_threads=1)

    async def give_up():
        asyncio.ensure_future(workers.run(workers.read, gate.wait))  # noqa: RUF006  # nobody will wait for it
        await asyncio.sleep(0.01)

    asyncio.run(give_up())
    gate.set()

    assert asyncio.run(workers.run(workers.read, lambda: "served")) == "served"


def test_loops_that_are_gone_are_forgotten():
    workers = Workers(read_threads=1)
    for _ in range(20):
        asyncio.run(workers.run(workers.read, int))

    assert len(workers._homes) < 5
