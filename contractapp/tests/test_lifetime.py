"""An application without references is freed, and its threads end."""

import asyncio
import gc
import logging
import threading
import time
import weakref

import pytest

from contractapp import Problem
from contractapp.testing.exchange import exchange

BODY = [("Content-Type", "application/json")]
PATHS = {
    "/things": {
        "get": {"operationId": "get_thing"},
        "post": {
            "operationId": "create_thing",
            "requestBody": {"required": True, "content": {"application/json": {"schema": {}}}},
        },
    },
    "/fails": {"get": {"operationId": "fail"}},
    "/refuses": {"get": {"operationId": "refuse"}},
}


class Refused(Problem):
    status = 404


@pytest.fixture(autouse=True)
def unlogged(caplog):
    """Switches logging off: pytest would keep the log records, and with them the tracebacks."""
    caplog.set_level(logging.CRITICAL + 1, "contractapp")


@pytest.fixture
def make(compiled, contract):
    """An application with handlers that read, write, raise an error and raise a problem."""

    def make():
        def get_thing():
            return "read"

        def create_thing(body):
            return "written"

        def fail():
            raise ZeroDivisionError

        def refuse():
            raise Refused

        return compiled(contract(PATHS), get_thing, create_thing, fail, refuse)

    return make


async def use(app):
    """Send one request of each kind; returns the statuses."""
    replies = [
        await exchange(app, "GET", "/things"),
        await exchange(app, "POST", "/things", BODY, b"1"),
        await exchange(app, "POST", "/things", BODY, b"{"),
        await exchange(app, "GET", "/fails"),
        await exchange(app, "GET", "/refuses"),
        await exchange(app, "GET", "/nothing"),
        await exchange(app, "GET", "/openapi.yaml"),
    ]
    return [reply.status for reply in replies]


async def live(app):
    """Run the lifespan of a server, with one request in it."""
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent, statuses = [], []

    async def receive():
        if len(messages) == 1:
            statuses.extend(await use(app))
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return sent, statuses


def started_by(app, run):
    before = set(threading.enumerate())
    outcome = asyncio.run(run(app))
    return outcome, {t for t in set(threading.enumerate()) - before if t.name.startswith(("read", "write"))}


def soon(condition):
    """Whether the condition holds after the threads have dropped their last call."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def have_ended(threads):
    for thread in threads:
        thread.join(10)
    return not any(thread.is_alive() for thread in threads)


def test_an_unreferenced_application_is_freed_and_its_threads_end(make):
    app = make()
    statuses, threads = started_by(app, use)
    reference = weakref.ref(app)
    del app

    assert statuses == [200, 200, 400, 500, 404, 404, 200]
    assert len(threads) == 6
    assert soon(lambda: gc.collect() >= 0 and reference() is None)
    assert have_ended(threads)


def test_the_threads_end_with_the_lifespan_and_a_later_request_is_served(make):
    app = make()
    (sent, statuses), threads = started_by(app, live)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert statuses[0] == 200
    assert have_ended(threads)
    assert asyncio.run(use(app)) == statuses


def test_an_error_of_a_handler_is_freed_with_its_answer(ask, compiled, contract):
    """Without the garbage collector: the frames of the error's traceback refer to the request's body."""
    raised = []

    class Fault(Exception):
        def __init__(self):
            raised.append(weakref.ref(self))  # a local variable of the handler would be part of a cycle

    class Refusal(Problem):
        status = 404

        def __init__(self):
            super().__init__()
            raised.append(weakref.ref(self))

    def create_thing(body):
        raise (Fault if body else Refusal)

    body = {"required": True, "content": {"application/json": {"schema": {}}}}
    app = compiled(contract({"/things": {"post": {"operationId": "create_thing", "requestBody": body}}}), create_thing)
    ask(app, "POST", "/things", BODY, b"1")
    raised.clear()
    gc.collect()
    gc.disable()
    try:
        statuses = [ask(app, "POST", "/things", BODY, content).status for content in (b"1", b"0", b"1", b"0")]

        assert statuses == [500, 404, 500, 404]
        assert soon(lambda: [error() for error in raised] == [None] * 4)
    finally:
        gc.enable()
