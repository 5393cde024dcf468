"""Requests through the contract's middleware."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from contractapp import Workers
from contractapp.testing.exchange import exchange

JSON = [("Content-Type", "application/json")]


@pytest.fixture
def gate():
    """An event for which threads wait; it is set at the end of the test in any case."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def gated(compiled, contract, gate):
    """An application with a write that waits for the gate, and a read that does not."""

    def make(**options):
        def get_thing():
            return "read"

        def create_thing(body):
            gate.wait(20)
            return "written"

        body = {"required": True, "content": {"application/json": {"schema": {}}}}
        paths = {"/things": {"get": {"operationId": "get_thing"}}}
        paths["/things"]["post"] = {"operationId": "create_thing", "requestBody": body}
        return compiled(contract(paths), get_thing, create_thing, **options)

    return make


def test_waiting_writes_do_not_occupy_the_threads_of_reads(gated, gate):
    app = gated(workers=Workers(read_threads=1, write_threads=1, timeout_seconds=10))

    async def main():
        writes = [asyncio.ensure_future(exchange(app, "POST", "/things", JSON, b"1")) for _ in range(3)]
        await asyncio.sleep(0.05)
        read = await exchange(app, "GET", "/things")
        waiting = not any(write.done() for write in writes)
        gate.set()
        return read.json(), waiting, [reply.json() for reply in await asyncio.gather(*writes)]

    assert asyncio.run(main()) == ("read", True, ["written"] * 3)


def test_the_body_and_the_handler_share_one_time_limit(gated, gate, monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("contractapp.serve.workers.time", clock)
    monkeypatch.setattr("contractapp.serve.jobs.time", clock)
    app = gated(workers=Workers(timeout_seconds=15))

    async def late(scope, receive, send):
        """The body arrives after 10 seconds; 6 seconds later the handler has not answered."""

        async def receive_late():
            clock.now = 10
            asyncio.get_running_loop().call_later(0.05, setattr, clock, "now", 16)
            return await receive()

        await app(scope, receive_late, send)

    reply = asyncio.run(asyncio.wait_for(exchange(late, "POST", "/things", JSON, b"12"), 5))

    assert reply.status == 503


def test_the_application_is_prepared_once_for_first_requests_in_two_event_loops(compiled, contract, loop):
    def get_thing():
        return "read"

    app = compiled(contract({"/things": {"get": {"operationId": "get_thing"}}}), get_thing)
    prepared = []
    prepare = app._runner.prepare

    def slowly(endpoints):
        prepared.append(threading.current_thread())
        time.sleep(0.05)
        prepare(endpoints)

    app._runner.prepare = slowly
    replies = []
    threads = [
        threading.Thread(target=lambda: replies.append(asyncio.run(exchange(app, "GET", "/things")).json()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert replies == ["read"] * 4
    assert len(prepared) == 1


@pytest.mark.parametrize(
    ("target", "status"),
    [("/things?x=1", 400), ("/nothing", 404), ("/things/only", 405), ("/none", 404)],
)
def test_a_refused_head_request_gets_headers_and_no_body(ask, compiled, contract, target, status):
    from contractapp import NotFound

    def get_thing():
        return "read"

    def create_thing():
        return "written"

    def get_none():
        raise NotFound

    paths = {
        "/things": {"get": {"operationId": "get_thing"}},
        "/things/only": {"post": {"operationId": "create_thing"}},
        "/none": {"get": {"operationId": "get_none"}},
    }
    options = {"strict_validation": True, "server_args": {"static_folder": None}}
    app = compiled(contract(paths), get_thing, create_thing, get_none, **options)
    full = ask(app, "GET", target)
    reply = ask(app, "HEAD", target)

    assert (reply.status, full.status) == (status, status)
    assert reply.body == b""
    assert full.body
    assert reply.header("content-length") == full.header("content-length") == str(len(full.body))
