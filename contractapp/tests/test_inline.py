"""Handlers that run in the event loop, and wait there."""

import asyncio
import threading
import weakref
from contextvars import ContextVar
from math import inf
from types import SimpleNamespace

import flask
import pytest
from greenlet import GreenletExit, greenlet

import contractapp
from contractapp import ContractApp, Unavailable, Workers
from contractapp.serve import inline
from contractapp.testing.exchange import exchange

VARIABLE = ContextVar("variable")
PARAMETER = {"name": "n", "in": "query", "schema": {"type": "integer"}}


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    """Keeps a slow machine from moving operations to threads."""
    monkeypatch.setattr("contractapp.serve.contract._LONG_SECONDS", inf)


@pytest.fixture
def make(contract):
    """An application with one inline operation, `GET /`."""

    def make(handle, **options):
        app = ContractApp("api", inline=["handle"], **options)
        operation = {"operationId": "handle", "parameters": [PARAMETER]}
        app.add_api(contract({"/": {"get": operation}}), handlers={"handle": handle})
        return app

    return make


def is_in_event_loop(n=0):
    return {"inline": contractapp.in_event_loop(), "main": threading.current_thread() is threading.main_thread()}


INLINE = {"inline": True, "main": True}
IN_A_THREAD = {"inline": False, "main": False}


async def soon(value):
    await asyncio.sleep(0.001)
    return value


def test_an_inline_handler_runs_in_the_event_loop(make, ask):
    assert ask(make(is_in_event_loop), "GET", "/").json() == INLINE


@pytest.mark.parametrize("kind", ["coroutine", "task", "future"])
def test_a_handler_waits_for_what_can_be_awaited(kind, make, ask):
    def handle(n=0):
        loop = asyncio.get_running_loop()
        if kind == "coroutine":
            return contractapp.wait(soon("given"))
        if kind == "task":
            return contractapp.wait(loop.create_task(soon("given")))
        future = loop.create_future()
        loop.call_later(0.001, future.set_result, "given")
        return contractapp.wait(future)

    assert ask(make(handle), "GET", "/").json() == "given"


def test_a_handler_gets_the_error_of_what_it_waits_for(make, ask):
    async def fail():
        await asyncio.sleep(0)
        raise ZeroDivisionError

    def handle(n=0):
        try:
            contractapp.wait(fail())
        except ZeroDivisionError:
            return "caught"

    assert ask(make(handle), "GET", "/").json() == "caught"


def test_handlers_that_wait_keep_their_context_variables_apart(make):
    """They run at the same time: each waits until all have begun."""
    begun = []

    async def all_begun(event):
        begun.append(event)
        if len(begun) == 5:
            for other in begun:
                other.set()
        await event.wait()

    def handle(n=0):
        VARIABLE.set(n)
        flask.g.n = n
        contractapp.wait(all_begun(asyncio.Event()))
        before = (VARIABLE.get(), flask.g.n, flask.request.args["n"])
        after = contractapp.in_thread(lambda: (VARIABLE.get(), flask.g.n, flask.request.args["n"]))
        return {"before": before, "after": after}

    app = make(handle)

    async def main():
        VARIABLE.set("outside")
        replies = await asyncio.gather(*(exchange(app, "GET", f"/?n={n}") for n in range(5)))
        return [reply.json() for reply in replies], VARIABLE.get()

    expected = [{"before": [n, n, str(n)], "after": [n, n, str(n)]} for n in range(5)]
    assert asyncio.run(asyncio.wait_for(main(), 10)) == (expected, "outside")


def test_a_call_in_a_thread_does_not_block_the_event_loop(make):
    gate = threading.Event()

    def handle(n=0):
        if n:
            gate.set()
            return "second"
        return contractapp.in_thread(lambda: [gate.wait(10), threading.current_thread().name])

    app = make(handle)

    async def main():
        return await asyncio.gather(exchange(app, "GET", "/"), exchange(app, "GET", "/?n=1"))

    first, second = asyncio.run(main())
    assert (first.json()[0], first.json()[1][:5], second.json()) == (True, "read-", "second")


def test_a_write_runs_in_a_thread_for_writes(make, ask):
    def handle(n=0):
        return contractapp.in_thread(lambda: threading.current_thread().name, write=True)

    assert ask(make(handle), "GET", "/").json().startswith("write-")


def test_an_error_in_a_thread_is_raised_in_the_handler(make, ask):
    def handle(n=0):
        with pytest.raises(ZeroDivisionError):
            contractapp.in_thread(lambda: 1 // 0)
        return "caught"

    assert ask(make(handle), "GET", "/").json() == "caught"


def test_in_a_thread_a_call_is_made_at_once():
    assert contractapp.in_thread(threading.current_thread) is threading.current_thread()


def test_only_inline_handlers_can_wait():
    async def main():
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(RuntimeError, match="Only an inline handler"):
            contractapp.wait(future)

    asyncio.run(main())
    assert not contractapp.in_event_loop()


@pytest.mark.parametrize("kind", ["future", "task", "thread"])
def test_503_at_the_deadline(kind, make, ask):
    gate = threading.Event()
    waited_for = []

    def handle(n=0):
        loop = asyncio.get_running_loop()
        if n:
            return "answered"
        if kind == "thread":
            contractapp.in_thread(lambda: gate.wait(10))
        waited_for.append(loop.create_future() if kind == "future" else loop.create_task(asyncio.sleep(3600)))
        return contractapp.wait(waited_for[-1])

    app = make(handle, workers=Workers(timeout_seconds=0.1))
    late = ask(app, "GET", "/")
    gate.set()

    assert (late.status, late.header("retry-after")) == (503, "1")
    assert all(future.cancelled() for future in waited_for)
    if kind != "thread":
        assert ask(app, "GET", "/").status == 503  # the deadlines are still watched
    assert ask(app, "GET", "/?n=1").json() == "answered"


def test_a_handler_can_answer_at_its_deadline(make, ask):
    def handle(n=0):
        try:
            contractapp.wait(asyncio.sleep(3600))
        except Unavailable:
            return "late"

    assert ask(make(handle, workers=Workers(timeout_seconds=0.1)), "GET", "/").json() == "late"


@pytest.mark.parametrize("in_a_thread", [False, True])
def test_a_cancelled_handler_cleans_up(in_a_thread, make):
    ended = []
    gate = threading.Event()

    def handle(n=0):
        try:
            if in_a_thread:
                contractapp.in_thread(lambda: gate.wait(10))
            contractapp.wait(asyncio.sleep(3600))
        finally:
            ended.append(contractapp.wait(soon("waited")))

    app = make(handle)
    app.app.teardown_appcontext(lambda error: ended.append(type(error)))

    async def main():
        request = asyncio.ensure_future(exchange(app, "GET", "/"))
        await asyncio.sleep(0.05)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        return request.cancelled()

    is_cancelled = asyncio.run(main())
    gate.set()

    assert (is_cancelled, ended) == (True, ["waited", asyncio.CancelledError])


def test_a_handler_whose_event_loop_ended_cleans_up(make):
    ended = []

    def handle(n=0):
        try:
            contractapp.wait(asyncio.get_running_loop().create_future())
        finally:
            ended.append(True)

    app = make(handle)
    loop = asyncio.new_event_loop()
    task = loop.create_task(exchange(app, "GET", "/"))
    loop.run_until_complete(asyncio.sleep(0.01))
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()

    assert ended == [True]


@pytest.mark.parametrize("hook", ["before_request", "after_request", "teardown_request"])
def test_an_application_with_hooks_runs_its_handlers_in_threads(hook, make, ask):
    """A hook may block."""
    app = make(is_in_event_loop)
    getattr(app.app, hook)(lambda *given: given[0] if hook == "after_request" else None)

    assert ask(app, "GET", "/").json() == IN_A_THREAD


@pytest.mark.parametrize("waits_first", [False, True])
def test_an_operation_that_occupies_the_event_loop_moves_to_threads_for_a_while(waits_first, make, ask, monkeypatch):
    clock = SimpleNamespace(now=1.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("contractapp.serve.contract.time", clock)
    monkeypatch.setattr("contractapp.serve.inline.monotonic", clock.monotonic)
    monkeypatch.setattr("contractapp.serve.contract._LONG_SECONDS", 0.1)

    def handle(n=0):
        if n:
            if waits_first:
                contractapp.wait(asyncio.sleep(0))
            clock.now += 0.2
        return is_in_event_loop()

    app = make(handle)

    assert ask(app, "GET", "/").json() == INLINE
    assert ask(app, "GET", "/?n=1").json() == INLINE
    clock.now += 9
    assert ask(app, "GET", "/").json() == IN_A_THREAD
    clock.now += 2
    assert ask(app, "GET", "/").json() == INLINE


def test_each_thread_with_an_event_loop_has_its_own_handlers(make):
    def handle(n=0):
        return [contractapp.wait(soon(n)), contractapp.in_thread(lambda: n), threading.current_thread().name]

    app = make(handle)
    replies = {}

    async def main(name):
        for _ in range(5):
            sent = (exchange(app, "GET", f"/?n={n}") for n in range(5))
            replies.setdefault(name, []).extend(reply.json() for reply in await asyncio.gather(*sent))

    threads = [threading.Thread(target=lambda name=name: asyncio.run(main(name)), name=name) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert replies == {name: [[n, n, name] for _ in range(5) for n in range(5)] for name in ("a", "b")}


def test_an_event_loop_in_a_greenlet_gets_what_it_started(make):
    """The greenlets of handlers may have been made by another greenlet of the thread."""
    app = make(lambda n=0: contractapp.wait(soon(n)))
    asyncio.run(exchange(app, "GET", "/?n=1"))

    reply = greenlet(asyncio.run).switch(exchange(app, "GET", "/?n=2"))

    assert reply.json() == 2


def test_idle_greenlets_are_limited(make, monkeypatch):
    monkeypatch.setattr(inline, "_MAX_FREE", 3)
    monkeypatch.setattr(inline, "_threads", threading.local())
    made = []
    monkeypatch.setattr(inline, "_new", lambda new=inline._new: made.append(new()) or made[-1])
    app = make(lambda n=0: contractapp.wait(soon(n)))

    async def main():
        replies = await asyncio.gather(*(exchange(app, "GET", f"/?n={n}") for n in range(10)))
        return [reply.json() for reply in replies]

    assert asyncio.run(main()) == list(range(10))
    assert (len(made), len(inline._free())) == (10, 3)


class Kept:
    """An object that can be referenced weakly."""


def test_nothing_of_a_request_is_kept_after_its_answer(make, ask):
    kept = []

    def handle(n=0):
        flask.g.kept = Kept()
        kept.append(weakref.ref(flask.g.kept))
        return contractapp.wait(soon(n))

    app = make(handle)

    assert ask(app, "GET", "/?n=1").json() == 1
    assert kept[0]() is None


def test_a_handler_that_raises_greenlet_exit_is_answered_500(make, ask):
    def handle(n=0):
        if n:
            return "answered"
        raise GreenletExit

    app = make(handle)

    assert ask(app, "GET", "/").status == 500
    assert ask(app, "GET", "/?n=1").json() == "answered"
