"""Answers at once: the same bytes on one connection are answered as through ASGI, and the connection stays as open."""

import asyncio
import gc
import itertools
import logging
import re
import threading
from math import inf

import connexion
import flask
import pytest
import uvicorn
from connexion.lifecycle import ConnexionResponse
from connexion.middleware import MiddlewarePosition
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

import contractapp
from contractapp import ContractApp, Problem
from contractapp.server.processes import _respond_at_once
from contractapp.server.protocol import Protocol

ANY = {"default": {"description": "Any."}}
BODY = {"required": True, "content": {"application/json": {"schema": {"type": "object", "required": ["a"]}}}}
PATHS = {
    f"/{name}": {"get": {"operationId": name, "responses": ANY}}
    for name in (
        *("read", "wait", "hop", "thread", "empty", "unchanged", "stream", "refuse", "breaks", "breaks_late", "leaves"),
        *(
            "is_stopped",
            "is_cancelled",
            "unframed",
            "closes",
            "strange",
            "unprintable",
            "sees",
            "session",
            "after",
            "stock",
        ),
    )
} | {
    "/things/{number}": {
        "get": {
            "operationId": "get_thing",
            "parameters": [
                {"name": "number", "in": "path", "required": True, "schema": {"type": "integer"}},
                {"name": "q", "in": "query", "schema": {"type": "string"}},
            ],
            "responses": ANY,
        }
    },
    "/things": {"post": {"operationId": "create_thing", "requestBody": BODY, "responses": ANY}},
    "/late-things": {"post": {"operationId": "create_late", "requestBody": BODY, "responses": ANY}},
    "/agreed": {
        "get": {
            "operationId": "breach",
            "responses": {
                "200": {"description": "x", "content": {"application/json": {"schema": {"type": "integer"}}}}
            },
        }
    },
}
PATHS["/stock"]["get"]["parameters"] = [
    {"name": "c", "in": "cookie", "schema": {"type": "string"}}  # left to stock Connexion
]
IN_THREADS = {"thread"}


class Teapot(Problem):
    status = 418


def handlers(calls):  # noqa: C901  # a list of small functions
    """The handlers, which note in `calls` that they ran."""

    def read():
        calls.append("read")
        return {"a": 1}

    def wait():
        calls.append("wait")
        return contractapp.wait(asyncio.sleep(0.001, {"waited": True})) if contractapp.in_event_loop() else None

    def hop():
        calls.append("hop")
        return contractapp.in_thread(lambda: {"app": flask.current_app.name})

    def thread():
        calls.append("thread")
        return {"main": threading.current_thread() is threading.main_thread()}

    def empty():
        return "", 204

    def unchanged():
        return None, 304, {"ETag": '"1"'}

    def stream():
        return flask.Response(flask.stream_with_context(chunk for chunk in ("a", "b", flask.request.path)))

    def refuse():
        raise Teapot("No coffee.", headers={"X-Pot": "short"})

    def breaks():
        raise ZeroDivisionError

    def breaks_late():
        contractapp.wait(asyncio.sleep(0))
        raise ZeroDivisionError

    def leaves():
        raise SystemExit

    def is_stopped():
        raise StopIteration

    def is_cancelled():
        raise asyncio.CancelledError

    def unframed():
        return "text", 200, {"Transfer-Encoding": "chunked"}

    def closes():
        return {"a": 1}, 200, {"Connection": "close"}

    def strange():
        return "text", 599

    def unprintable():
        return {"a": 1}, 200, {"X-Bad": "a\0b"}

    def sees():
        request = connexion.request
        return {"agent": request.headers.get("user-agent"), "path": request.path, "flask": flask.request.full_path}

    def session():
        flask.session["n"] = flask.session.get("n", 0) + 1
        return {"n": flask.session["n"]}

    def after():
        @flask.after_this_request
        def add(response):
            response.headers["X-After"] = "yes"
            return response

        return {"a": 1}

    def stock(c=None):
        return {"c": c}

    def get_thing(number, q=None):
        return {"number": number, "q": q}

    def create_thing(body):
        calls.append("create_thing")
        return body, 201

    def create_late(body):
        calls.append("create_late")
        contractapp.wait(asyncio.sleep(0.001))
        return {**body, "size": len(flask.request.get_data())}, 201

    def breach():
        return "no integer"

    names = dict(locals())
    del names["calls"]
    return names


def application(calls, contract, **options):
    functions = handlers(calls)
    app = ContractApp("api", inline=set(functions) - IN_THREADS, max_body_bytes=2000, **options)
    app.app.secret_key = "secret"
    app.add_api(contract(PATHS), handlers=functions)
    return app


@pytest.fixture(scope="module")
def calls():
    return []


@pytest.fixture(scope="module")
def app(calls, contract):
    return application(calls, contract)


class Transport(asyncio.Transport):
    """Records what is written until it is closed."""

    def __init__(self):
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data):
        if not self.is_closed:
            self.written += data

    def write_eof(self):
        self.is_closed = True

    def is_closing(self):
        return self.is_closed

    def close(self):
        self.is_closed = True

    abort = close

    def get_write_buffer_size(self):
        return 0

    def pause_reading(self):
        pass

    resume_reading = pause_reading


async def connect(app, respond):
    """A connection whose requests are answered by `respond`, if that is possible."""
    await app({"type": "lifespan", "state": {}}, _lifespan(), _ignore)
    config = uvicorn.Config(app, http=Protocol, log_config=None, lifespan="off")
    served = type("Served", (Protocol,), {"respond_at_once": respond})
    state = ServerState()
    state.default_headers = [(b"date", b"today")]
    protocol, transport = served(config, state, {}, asyncio.get_running_loop()), Transport()
    protocol.connection_made(transport)
    return protocol, transport, state.tasks


def _lifespan():
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive():
        return next(messages)

    return receive


async def _ignore(_message):
    pass


async def settled(tasks):
    await asyncio.sleep(0)  # answers are written after the data of this turn of the event loop
    while tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


async def sent_to(app, respond, pieces, *, in_turn=False):
    """What is written for these pieces of data, and whether the connection is open afterwards."""
    protocol, transport, tasks = await connect(app, respond)
    for piece in pieces:
        protocol.data_received(piece)
        if in_turn:
            await settled(tasks)
    await settled(tasks)
    is_open = not transport.is_closed
    protocol.connection_lost(None)
    return transport.written, is_open


@pytest.fixture(scope="module")
def outcomes(app, calls):
    """The outcomes at once and through ASGI: bytes, whether the connection is open, and the handlers that ran."""

    def of(pieces, **options):
        found = []
        for respond in (app.respond_at_once, None):
            calls.clear()
            found.append((*asyncio.run(sent_to(app, respond, pieces, **options)), list(calls)))
        return found

    return of


def get(target, *headers, version=b"1.1", method=b"GET"):
    lines = [method + b" " + target + b" HTTP/" + version, b"Host: test", *headers]
    return b"\r\n".join([*lines, b"", b""])


def post(target, body, *headers, media_type=b"application/json"):
    lengths = (b"Content-Type: " + media_type, b"Content-Length: %d" % len(body))
    return get(target, *lengths, *headers, method=b"POST") + body


def chunked(target, *chunks, last=b"0\r\n\r\n"):
    head = get(target, b"Content-Type: application/json", b"Transfer-Encoding: chunked", method=b"POST")
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + last


CLOSE = b"Connection: close"
GOOD = post(b"/things", b'{"a": 1}')
SLOW = post(b"/late-things", b'{"a": 2}')

REQUESTS = {
    "read": get(b"/read"),
    "pipelined": get(b"/read") + get(b"/things/1") + GOOD + get(b"/missing"),
    "40 pipelined": b"".join(get(b"/things/%d" % number) for number in range(40)),
    "slow and quick": SLOW + get(b"/read") + get(b"/wait") + get(b"/hop") + get(b"/thread") + get(b"/read"),
    "quick and slow": get(b"/read") + get(b"/wait") + get(b"/read") + SLOW + get(b"/stream") + get(b"/read"),
    "head": get(b"/read", method=b"HEAD") + get(b"/wait", method=b"HEAD") + get(b"/stream", method=b"HEAD"),
    "head of nothing": get(b"/missing", method=b"HEAD") + get(b"/things", method=b"HEAD"),
    "options": get(b"/things", method=b"OPTIONS") + get(b"/read", method=b"OPTIONS") + get(b"*", method=b"OPTIONS"),
    "204 and 304": get(b"/empty") + get(b"/unchanged") + get(b"/read"),
    "404 and 405": get(b"/missing") + get(b"/things") + get(b"/read/") + get(b"//read") + get(b"/read"),
    "400": get(b"/things/x?y=1") + post(b"/things", b"{}") + post(b"/things", b"{") + get(b"/read"),
    "415": post(b"/things", b"a", media_type=b"text/plain") + get(b"/read"),
    "413": post(b"/things", b"a" * 3000) + get(b"/read"),
    "413 of chunks": chunked(b"/things", b'{"a": "', b"b" * 3000, b'"}') + get(b"/read"),
    "no body": get(b"/things", b"Content-Type: application/json", method=b"POST"),
    "body on get": get(b"/read", b"Content-Length: 3") + b"abc" + get(b"/read"),
    "chunks": chunked(b"/things", b'{"a"', b": ", b"1}") + get(b"/read"),
    "trailers": chunked(b"/things", b'{"a": 1}', last=b"0\r\nConnection: close\r\nX: 1\r\n\r\n") + get(b"/read"),
    "close": get(b"/read", CLOSE),
    "after close": get(b"/read", CLOSE) + GOOD,
    "after a slow close": post(b"/late-things", b'{"a": 2}', CLOSE) + GOOD,
    "1.0": get(b"/read", version=b"1.0"),
    "1.0 keep-alive": get(b"/read", b"Connection: keep-alive", version=b"1.0") + GOOD,
    "1.0 waits": get(b"/wait", b"Connection: keep-alive", version=b"1.0") + GOOD,
    "expect": post(b"/things", b'{"a": 1}', b"Expect: 100-continue") + get(b"/read"),
    "expect something": post(b"/things", b'{"a": 1}', b"Expect: more") + get(b"/read"),
    "h2c": get(b"/read", b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: x") + get(b"/read"),
    "h2c with a body": GOOD + post(b"/things", b'{"a": 1}', b"Upgrade: h2c", b"Connection: Upgrade") + get(b"/read"),
    "target": post(b"/th%69ngs?x=%ff", b'{"a": 1}') + post(b"http://test/things", b'{"a": 1}') + get(b"/th%C3%A9"),
    "bad target": post(b"/\xc3\xa9", b'{"a": 1}'),
    "blank lines": b"\r\n" + get(b"/read") + b"\r\n\r\n" + get(b"/read"),
    "stream": get(b"/stream") + get(b"/read"),
    "problem": get(b"/refuse") + get(b"/read"),
    "error": get(b"/breaks") + get(b"/breaks_late") + get(b"/read"),
    "stop iteration": get(b"/is_stopped") + get(b"/read"),
    "system exit": get(b"/leaves") + get(b"/read"),
    "cancelled error": get(b"/is_cancelled") + get(b"/read"),
    "breach": get(b"/agreed") + get(b"/read"),
    "unframed": get(b"/unframed") + get(b"/read"),
    "closes": get(b"/closes") + GOOD,
    "strange": get(b"/strange") + get(b"/read"),
    "requests of the frameworks": get(b"/sees?a=1", b"User-Agent: me") + get(b"/after") + get(b"/read"),
    "stock": get(b"/stock", b"Cookie: c=1") + GOOD + get(b"/stock"),
    "documentation": get(b"/openapi.json") + get(b"/openapi.json") + get(b"/ui/") + get(b"/read"),
}


# Not too many: a client that pipelines more than 100 requests that have to wait is disconnected.
# A target that is not ASCII is not HTTP: see INVALID.
FEW = sorted(
    data for data in REQUESTS.values() if data.count(b"HTTP/1.") < 10 and data.partition(b" HTTP")[0].isascii()
)

INVALID = {
    "bad chunk": chunked(b"/things", last=b"zz\r\n"),
    "garbage": b"\0\0\r\n\r\n",
    "unknown method": get(b"/read", method=b"BREW"),
    "no host": b"GET /read HTTP/1.1\r\n\r\n",
    "bad target": get(b"http://test:99999/read"),
    "bad target, and a body that is not whole": post(b"http://test:99999/things", b'{"a": 1}')[:-1],
}


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    """Keeps a slow machine from moving operations to threads."""
    monkeypatch.setattr("contractapp.serve.contract._LONG_SECONDS", inf)


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.CRITICAL + 1)


@pytest.mark.parametrize("name", REQUESTS)
def test_one_piece_of_data_is_answered_as_through_asgi(name, outcomes):
    at_once, through_asgi = outcomes([REQUESTS[name]])

    assert at_once == through_asgi


@pytest.mark.parametrize("name", REQUESTS)
def test_single_bytes_are_answered_as_through_asgi(name, outcomes):
    data = REQUESTS[name]

    at_once, through_asgi = outcomes([data[i : i + 1] for i in range(len(data))])

    assert at_once == through_asgi


@pytest.mark.parametrize("name", INVALID)
def test_what_is_not_http_is_refused_as_through_asgi(name, outcomes):
    """After an answered request: ASGI ends the connection with the answers that are not sent yet."""
    at_once, through_asgi = outcomes([get(b"/read"), INVALID[name]], in_turn=True)

    assert at_once == through_asgi
    assert re.findall(rb"HTTP/1.1 (\d+)", at_once[0]) in ([b"200", b"400"], [b"200", b"501"])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_sequence_in_any_pieces_is_answered_as_through_asgi(data, outcomes):
    stream = b"".join(data.draw(st.lists(st.sampled_from(FEW), max_size=4)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[i:j] for i, j in itertools.pairwise([0, *cuts, len(stream)])]

    at_once, through_asgi = outcomes(pieces)

    assert at_once == through_asgi


# Connexion makes a response for the error in vain, as the headers were sent already.
@pytest.mark.filterwarnings("ignore:Exception ignored in. .coroutine object ServerErrorMiddleware")
def test_a_header_that_cannot_be_sent_ends_the_connection_as_through_asgi(outcomes):
    at_once, through_asgi = outcomes([get(b"/unprintable") + get(b"/read")])
    gc.collect()

    assert at_once == through_asgi == (b"", False, [])


def written_at_once(app, data):
    return asyncio.run(sent_to(app, app.respond_at_once, [data]))[0]


def test_a_request_that_need_not_wait_makes_no_task(app):
    async def main():
        protocol, transport, tasks = await connect(app, app.respond_at_once)
        protocol.data_received(GOOD)
        written = transport.written
        await asyncio.sleep(0)
        return written, transport.written.endswith(b'{"a":1}'), set(tasks)

    assert asyncio.run(main()) == (b"", True, set())


def test_40_requests_in_one_piece_let_others_go_first(app):
    async def main():
        protocol, transport, tasks = await connect(app, app.respond_at_once)
        protocol.data_received(REQUESTS["40 pipelined"])
        at_once = transport.written.count(b"HTTP/1.1 200")
        await settled(tasks)
        return at_once, transport.written.count(b"HTTP/1.1 200")

    assert asyncio.run(main()) == (16, 40)


def test_answers_wait_while_the_client_does_not_read(app):
    async def main():
        protocol, transport, tasks = await connect(app, app.respond_at_once)
        protocol.pause_writing()
        protocol.data_received(get(b"/read"))
        written = transport.written
        protocol.resume_writing()
        await settled(tasks)
        return written, transport.written.count(b"200 OK")

    assert asyncio.run(main()) == (b"", 1)


def test_a_connection_without_a_further_request_is_closed(app):
    async def main():
        protocol, transport, _ = await connect(app, app.respond_at_once)
        protocol.timeout_keep_alive = 0.01
        protocol.data_received(get(b"/read") + get(b"/read"))
        is_open = not transport.is_closed
        while not transport.is_closed:  # noqa: ASYNC110  # a transport has no event
            await asyncio.sleep(0.001)
        return is_open

    assert asyncio.run(asyncio.wait_for(main(), 10))


def test_a_request_in_progress_is_not_cut_off_by_the_one_before(app):
    async def main():
        protocol, transport, tasks = await connect(app, app.respond_at_once)
        protocol.timeout_keep_alive = 0.01
        protocol.data_received(get(b"/read") + get(b"/wait")[:-1])
        await asyncio.sleep(0.05)
        is_open = not transport.is_closed
        protocol.data_received(b"\n")
        await settled(tasks)
        return is_open, transport.written.count(b"200 OK")

    assert asyncio.run(asyncio.wait_for(main(), 10)) == (True, 2)


def test_a_handler_that_waits_is_cancelled_with_its_request(contract):
    ended = []

    def wait():
        try:
            contractapp.wait(asyncio.sleep(3600))
        finally:
            ended.append("wait")

    app = ContractApp("api", inline=["wait"])
    app.add_api(contract({"/wait": PATHS["/wait"]}), handlers={"wait": wait})

    async def main():
        protocol, transport, tasks = await connect(app, app.respond_at_once)
        protocol.data_received(get(b"/wait"))
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await settled(tasks)
        return transport.written[:12], list(ended)

    assert asyncio.run(main()) == (b"HTTP/1.1 503", ["wait"])


def test_nothing_is_written_after_the_client_disconnected(app, calls):
    async def main():
        protocol, transport, tasks = await connect(app, app.respond_at_once)
        calls.clear()
        protocol.data_received(SLOW)
        protocol.connection_lost(None)
        await settled(tasks)
        return transport.written, list(calls)

    assert asyncio.run(main()) == (b"", ["create_late"])


class Counting:
    """A layer that counts requests."""

    def __init__(self, app, **_options):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            COUNTED.append(scope["path"])
        await self.app(scope, receive, send)


class Transparent(Counting):
    """As above; it passes on the attributes of the application, as proxies of monitoring tools do."""

    def __getattr__(self, name):
        return getattr(self.app, name)


class Overriding(ContractApp):
    async def __call__(self, scope, receive, send):
        COUNTED.append(scope.get("path"))
        await super().__call__(scope, receive, send)


COUNTED = []


def is_counted(app, respond):
    COUNTED.clear()
    written, _ = asyncio.run(sent_to(app, respond, [get(b"/read")]))
    assert written.startswith(b"HTTP/1.1 200")
    return "/read" in COUNTED


@pytest.mark.parametrize("position", MiddlewarePosition)
def test_a_middleware_at_any_position_gets_every_request(position, contract):
    app = application([], contract)
    app.add_middleware(Counting, position)

    assert is_counted(app, _respond_at_once(app))


@pytest.mark.parametrize("layer", [Counting, Transparent])
def test_a_layer_around_the_application_gets_every_request(layer, contract):
    app = layer(application([], contract))

    assert is_counted(app, _respond_at_once(app))


def test_a_subclass_with_a_call_of_its_own_gets_every_request(contract):
    app = Overriding("api", inline=["read"])
    app.add_api(contract({"/read": PATHS["/read"]}), handlers={"read": lambda: "read"})

    assert is_counted(app, _respond_at_once(app))


def test_a_middleware_that_was_put_around_connexions_gets_every_request(contract):
    app = application([], contract)
    asyncio.run(sent_to(app, None, [get(b"/read")]))
    app.middleware = Counting(app.middleware)

    assert is_counted(app, _respond_at_once(app))


def test_an_application_is_answered_at_once(app):
    assert _respond_at_once(app) == app.respond_at_once


def test_the_body_is_not_kept_after_the_answer(app):
    async def main():
        protocol, transport, tasks = await connect(app, app.respond_at_once)
        protocol.data_received(SLOW)
        await settled(tasks)
        return transport.written[:12], bytes(protocol.cycle.body)

    assert asyncio.run(main()) == (b"HTTP/1.1 201", b"")


@pytest.mark.parametrize("target", [b"/breaks", b"/breaks_late", b"/refuse", b"/things/x"])
def test_the_layers_in_front_answer_what_is_raised(target, contract):
    """Here they call the error handlers of the user."""
    app = application([], contract)
    for kind in (ZeroDivisionError, Problem):
        app.add_error_handler(kind, lambda _, error: ConnexionResponse(599, body=type(error).__name__))

    written = written_at_once(app, get(target))

    assert written.startswith(b"HTTP/1.1 599")
    assert written.rpartition(b"\r\n")[2] in {b"ZeroDivisionError", b"Teapot", b"InvalidRequest"}
