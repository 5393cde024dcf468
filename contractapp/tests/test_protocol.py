"""HTTP/1.1 on one connection, without a socket: tests what is written for given bytes."""

import asyncio
import json

import pytest
import uvicorn
from uvicorn.server import ServerState

from contractapp.server.protocol import Protocol

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


class Recorder(asyncio.Transport):
    """A transport that records what is written.

    Its write buffer begins with 1 MB, of which the client reads `taken` bytes before each look at its size.
    """

    def __init__(self):
        super().__init__()
        self.written = b""
        self.waiting = 1_000_000
        self.taken = 0
        self.is_aborted = False

    def write(self, data):
        self.written += data

    def write_eof(self):
        pass

    def is_closing(self):
        return False

    def close(self):
        pass

    def abort(self):
        self.is_aborted = True

    def get_write_buffer_size(self):
        self.waiting -= self.taken
        return self.waiting

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass

    @property
    def statuses(self):
        return [int(part[:3]) for part in self.written.split(b"HTTP/1.1 ")[1:]]

    @property
    def body(self):
        return self.written.rpartition(b"\r\n\r\n")[2]


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def connect(app=hello):
    """Make a connection: returns it, its transport, and the tasks of its requests."""
    config = uvicorn.Config(app, http=Protocol, log_config=None, lifespan="off")
    state = ServerState()
    protocol = Protocol(config, state, {}, asyncio.get_running_loop())
    transport = Recorder()
    protocol.connection_made(transport)
    return protocol, transport, state.tasks


async def settled(tasks):
    while tasks:
        await asyncio.gather(*tasks, return_exceptions=True)


def test_a_head_with_two_errors_is_answered_once():
    async def main():
        protocol, transport, _ = await connect()
        too_long_and_no_header = (b"x" * 65_000, b"x" * 2_000 + b"\0\r\n\r\n")
        for piece in (b"GET / HTTP/1.1\r\nHost: test\r\nX: ", *too_long_and_no_header):
            protocol.data_received(piece)
        return transport.statuses

    assert asyncio.run(main()) == [400]


def test_the_limit_is_for_each_head_of_a_connection():
    async def main():
        protocol, transport, tasks = await connect()
        head = b"GET / HTTP/1.1\r\nHost: test\r\nX: " + b"x" * 1400 + b"\r\n\r\n"
        for _ in range(80):  # 112 kB in all; one head may have 64 kB
            protocol.data_received(head[:-2])
            protocol.data_received(head[-2:])
            await settled(tasks)
        protocol.connection_lost(None)
        return transport.statuses

    assert asyncio.run(main()) == [200] * 80


@pytest.mark.parametrize("size", [60_000, 70_000])
def test_the_limit_is_for_all_pieces_of_a_head(size):
    async def main():
        protocol, transport, tasks = await connect()
        protocol.data_received(REQUEST)
        await settled(tasks)
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: test\r\nX: ")
        for _ in range(size // 1000):
            protocol.data_received(b"x" * 1000)
        protocol.data_received(b"\r\n\r\n")
        await settled(tasks)
        protocol.connection_lost(None)
        return transport.statuses

    assert asyncio.run(main()) == [200, 200 if size < 65_536 else 431]


async def cancelled(app):
    """The bytes that are sent for a request whose task the server cancels at the end of the shutdown timeout."""
    protocol, transport, tasks = await connect(app)
    protocol.data_received(REQUEST)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await settled(tasks)
    protocol.connection_lost(None)
    return transport


def test_a_request_that_the_server_cancels_is_answered_503():
    async def app(scope, receive, send):
        await asyncio.sleep(3600)

    transport = asyncio.run(cancelled(app))

    assert transport.statuses == [503]
    assert b"\r\nretry-after: 1\r\n" in transport.written
    assert json.loads(transport.body)["status"] == 503


def test_a_started_response_is_cut_off_when_the_server_cancels_the_request(caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(3600)

    assert asyncio.run(cancelled(app)).statuses == [200]
    assert [record.exc_info[0] for record in caplog.records] == [asyncio.CancelledError]


def test_the_answer_of_the_application_to_a_cancellation_is_kept():
    async def app(scope, receive, send):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await send({"type": "http.response.start", "status": 504, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            raise

    assert asyncio.run(cancelled(app)).statuses == [504]


@pytest.mark.parametrize("takes", ["nothing", "a little", "all"])
def test_a_client_that_reads_nothing_is_disconnected(takes, monkeypatch):
    monkeypatch.setattr(Protocol, "timeout_seconds", 0.02)

    async def main():
        protocol, transport, _ = await connect()
        transport.taken = 100 if takes == "a little" else 0
        protocol.pause_writing()
        if takes == "all":
            protocol.resume_writing()
        waits = 500 if takes == "nothing" else 20
        while waits and not transport.is_aborted:
            await asyncio.sleep(0.02)
            waits -= 1
        protocol.connection_lost(None)
        return transport.is_aborted

    assert asyncio.run(main()) is (takes == "nothing")


def test_no_timer_outlives_its_connection(monkeypatch):
    monkeypatch.setattr(Protocol, "timeout_seconds", 0.02)

    async def main():
        protocol, transport, _ = await connect()
        protocol.pause_writing()
        protocol.connection_lost(None)
        await asyncio.sleep(0.1)
        return transport.is_aborted

    assert asyncio.run(main()) is False
