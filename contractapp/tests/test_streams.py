"""Streamed responses: however they end, they are closed exactly once, and there is only one response."""

import asyncio
import gc
import logging
import threading
from contextlib import suppress
from types import SimpleNamespace

import flask
import pytest

from contractapp import NotFound, Workers
from contractapp.testing.exchange import exchange

# Connexion 3.3 makes the response to an error even if it is too late to send it, and does not await it.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine 'ServerErrorMiddleware.error_response' was never awaited")

HEADERS = [(b"host", b"test")]
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "scheme": "http",
    "method": "GET",
    "path": "/stream",
    "raw_path": b"/stream",
    "query_string": b"",
    "root_path": "",
    "headers": HEADERS,
    "client": ("127.0.0.1", 50000),
    "server": ("127.0.0.1", 80),
}


@pytest.fixture(autouse=True)
def collected():
    """Frees coroutines that were not awaited while their warnings are ignored."""
    yield
    gc.collect()


class Closings(list):
    """Records what was closed, in order."""

    def __init__(self):
        super().__init__()
        self._condition = threading.Condition()

    def note(self, name):
        with self._condition:
            self.append(name)
            self._condition.notify_all()

    def wait(self):
        """The recorded closings, after the response was closed and a second closing had time to happen."""
        with self._condition:
            assert self._condition.wait_for(lambda: "response" in self, 10)
            self._condition.wait_for(lambda: self.count("response") > 1, 0.05)
            return sorted(self)


@pytest.fixture
def closed():
    return Closings()


@pytest.fixture
def gate():
    """An event for which threads wait; it is set at the end of the test in any case."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def streaming(compiled, contract, closed):
    """An application whose only operation streams these chunks, and records what is closed."""

    def make(chunks, *, close=lambda: None, responses=None, **options):
        def stream():
            def generate():
                try:
                    yield from chunks()
                finally:
                    closed.note("chunks")

            def note_and_close():
                closed.note("response")
                close()

            response = flask.Response(generate(), mimetype="text/plain")
            response.call_on_close(note_and_close)
            return response

        operation = {"operationId": "stream", **({"responses": responses} if responses else {})}
        return compiled(contract({"/stream": {"get": operation}}), stream, **options)

    return make


async def waits_for_ever():
    return await asyncio.sleep(3600)


async def run(app, send=None, receive=waits_for_ever, **scope):
    """Run one request; returns the messages that the application sends."""
    sent = []

    async def note(message):
        sent.append(message)
        if send is not None:
            await send(len(sent), message)

    try:
        await app({**SCOPE, **scope}, receive, note)
    except RuntimeError as error:
        sent.append(type(error))  # only this error: its traceback refers to coroutines that were not awaited
    return sent


def kinds(sent):
    return [message["type"] if isinstance(message, dict) else message.__name__ for message in sent]


def test_a_stream_is_sent_and_closed(streaming, closed):
    sent = asyncio.run(run(streaming(lambda: ["a", "b"])))

    assert [message.get("body") for message in sent] == [None, b"a", b"b", b""]
    assert closed.wait() == ["chunks", "response"]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("error", [OSError, RuntimeError, ValueError])
def test_closed_once_when_sending_fails(streaming, closed, number, error):
    async def send(count, _):
        if count == number:
            raise error("gone")

    app = streaming(lambda: ["a", "b"])
    with suppress(error):
        asyncio.run(run(app, send))

    assert closed.wait()[-1:] == ["response"]
    assert closed.count("response") == 1


def test_a_disconnect_ends_an_endless_stream(streaming, closed):
    def endless():
        while True:
            yield "more"

    async def main():
        left = asyncio.Event()

        async def receive():
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(count, _):
            if count == 5:
                left.set()
            await asyncio.sleep(0)

        return await asyncio.wait_for(run(streaming(endless), send, receive), 20)

    sent = asyncio.run(main())

    assert kinds(sent)[:5] == ["http.response.start"] + ["http.response.body"] * 4
    assert all(message["more_body"] for message in sent[1:])
    assert closed.wait() == ["chunks", "response"]


def test_a_disconnect_reported_by_send_is_not_an_error(streaming, closed, caplog):
    async def send(count, _):
        if count == 3:
            raise BrokenPipeError

    sent = asyncio.run(run(streaming(lambda: ["a", "b", "c"]), send))

    assert kinds(sent) == ["http.response.start", "http.response.body", "http.response.body"]
    assert closed.wait() == ["chunks", "response"]
    assert caplog.records == []


def test_the_rest_of_a_body_is_not_a_disconnect(streaming, closed):
    messages = [{"type": "http.request", "body": b"x", "more_body": True}] * 3

    async def receive():
        return messages.pop() if messages else await waits_for_ever()

    sent = asyncio.run(run(streaming(lambda: ["a", "b"]), receive=receive))

    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert closed.wait() == ["chunks", "response"]


def test_a_late_chunk_breaks_the_stream_off(streaming, closed, gate):
    def pausing():
        yield "a"
        gate.wait(10)
        yield "b"

    app = streaming(pausing, workers=Workers(read_threads=1, timeout_seconds=0.1))
    sent = asyncio.run(run(app))
    early = list(closed)
    gate.set()

    assert kinds(sent) == ["http.response.start", "http.response.body", "RuntimeError"]
    assert early == []  # a thread is making a chunk
    assert closed.wait() == ["chunks", "response"]


def test_each_chunk_has_its_own_time_limit(streaming, monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("contractapp.serve.workers.time", clock)
    monkeypatch.setattr("contractapp.serve.jobs.time", clock)

    def slow():
        for _ in range(5):
            clock.now += 10
            threading.Event().wait(0.3)  # long enough for a sweep of the deadlines
            yield "a"

    sent = asyncio.run(run(streaming(slow, workers=Workers(timeout_seconds=15))))

    assert b"".join(message.get("body", b"") for message in sent) == b"aaaaa"


def test_a_full_queue_refuses_neither_chunks_nor_closing(streaming, closed):
    workers = Workers(read_threads=1)

    def chunks():
        yield "a"
        workers.read._queue_size = 0
        yield "b"

    sent = asyncio.run(run(streaming(chunks, workers=workers)))

    assert kinds(sent) == ["http.response.start"] + ["http.response.body"] * 3
    assert sent[-1]["more_body"] is False
    assert closed.wait() == ["chunks", "response"]


def test_closed_once_when_cancelled_while_a_chunk_is_made(streaming, closed, gate):
    making = threading.Event()

    def pausing():
        yield "a"
        making.set()
        gate.wait(10)
        yield "b"

    async def main():
        task = asyncio.ensure_future(run(streaming(pausing)))
        await asyncio.to_thread(making.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        return await asyncio.to_thread(closed.wait)

    assert asyncio.run(main()) == ["chunks", "response"]


def test_closed_once_when_cancelled_while_a_chunk_is_sent(streaming, closed):
    async def main():
        sending = asyncio.Event()

        async def send(count, _):
            if count == 2:
                sending.set()
                await waits_for_ever()

        task = asyncio.ensure_future(run(streaming(lambda: ["a", "b"]), send))
        await asyncio.wait_for(sending.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await asyncio.to_thread(closed.wait)

    assert asyncio.run(main()) == ["chunks", "response"]


@pytest.mark.parametrize("error", [NotFound(), ZeroDivisionError()], ids=["problem", "error"])
def test_no_second_response_after_a_chunk_that_raises(streaming, closed, error):
    def failing():
        yield "a"
        raise error

    sent = asyncio.run(run(streaming(failing)))

    assert kinds(sent) == ["http.response.start", "http.response.body", "RuntimeError"]
    assert closed.wait() == ["chunks", "response"]


@pytest.mark.parametrize("error", [NotFound(), ZeroDivisionError()], ids=["problem", "error"])
def test_an_error_in_closing_is_logged_and_gets_no_second_response(streaming, closed, error, caplog):
    def close():
        raise error

    sent = asyncio.run(run(streaming(lambda: ["a"], close=close)))

    assert kinds(sent) == ["http.response.start", "http.response.body", "http.response.body"]
    assert closed.wait() == ["chunks", "response"]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "A streamed response could not be closed."
    ]


def test_a_stream_for_head_is_closed_unread(streaming, closed):
    def chunks():
        closed.note("read")
        yield "a"

    sent = asyncio.run(run(streaming(chunks), method="HEAD"))

    assert [message.get("body") for message in sent] == [None, b""]
    assert closed.wait() == ["response"]


def test_a_stream_that_the_contract_does_not_document_is_closed(streaming, closed):
    app = streaming(lambda: ["a"], responses={"201": {"description": "Made."}}, validate_responses=True)
    sent = asyncio.run(run(app))

    assert sent[0]["status"] == 500
    assert closed.wait()[-1:] == ["response"]


def test_a_stream_that_comes_after_the_503_is_closed(compiled, contract, closed, gate):
    def stream():
        gate.wait(10)
        response = flask.Response(iter(["late"]), mimetype="text/plain")
        response.call_on_close(lambda: closed.note("response"))
        return response

    app = compiled(
        contract({"/stream": {"get": {"operationId": "stream"}}}), stream, workers=Workers(timeout_seconds=0.05)
    )

    async def main():
        sent = await run(app)
        gate.set()
        return sent[0]["status"], await asyncio.to_thread(closed.wait)

    assert asyncio.run(main()) == (503, ["response"])


def timing_out(begun):
    """An ASGI layer of the user that answers 504 once this event is set, whatever time that takes."""

    def layer(app):
        async def call(scope, receive, send):
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(None) as limit:
                    waiting = asyncio.create_task(asyncio.to_thread(begun.wait, 60))
                    waiting.add_done_callback(lambda _: limit.reschedule(loop.time()))
                    await app(scope, receive, send)
            except TimeoutError:
                await send({"type": "http.response.start", "status": 504, "headers": []})
                await send({"type": "http.response.body", "body": b"mine"})

        return call

    return layer


@pytest.mark.parametrize("position", ["in front of Connexion's", "around the application"])
def test_a_layer_with_a_timeout_sends_its_own_answer(compiled, contract, closed, gate, position):
    from connexion.middleware import ConnexionMiddleware

    begun = threading.Event()

    def stream():
        begun.set()
        gate.wait(10)
        response = flask.Response(iter(["late"]), mimetype="text/plain")
        response.call_on_close(lambda: closed.note("response"))
        return response

    layer = timing_out(begun)
    inside = position == "in front of Connexion's"
    options = {"middlewares": [layer, *ConnexionMiddleware.default_middlewares]} if inside else {}
    app = compiled(contract({"/stream": {"get": {"operationId": "stream"}}}), stream, **options)

    async def main():
        reply = await exchange(app if inside else layer(app), "GET", "/stream")
        gate.set()
        return reply.status, reply.body, await asyncio.to_thread(closed.wait)

    assert asyncio.run(main()) == (504, b"mine", ["response"])


def test_a_problem_in_a_stream_of_stock_connexion_gets_no_second_response(compiled, contract):
    def stream(context_):
        def chunks():
            yield "a"
            raise NotFound

        return flask.Response(chunks(), mimetype="text/plain")

    sent = asyncio.run(run(compiled(contract({"/stream": {"get": {"operationId": "stream"}}}), stream)))

    assert kinds(sent).count("http.response.start") == 1
    assert kinds(sent)[-1] == "RuntimeError"


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_is_sent_without_one(compiled, contract, closed, status):
    def stream():
        response = flask.Response(iter(["a"]), status=status)
        response.call_on_close(lambda: closed.note("response"))
        return response

    sent = asyncio.run(run(compiled(contract({"/stream": {"get": {"operationId": "stream"}}}), stream)))

    assert [message.get("body") for message in sent] == [None, b""]
    assert closed.wait() == ["response"]
