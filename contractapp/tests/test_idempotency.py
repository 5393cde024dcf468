"""Idempotency keys: the grammar of the header, the comparison of requests, and the protocol with a store."""

import asyncio
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from flask import Response
from hypothesis import given
from hypothesis import strategies as st

from contractapp import ContractError, EntityTags, IdempotencyKeyInUse, Problem, Workers
from contractapp.compile.keys import digest_of, parse_key
from contractapp.testing.exchange import exchange

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
JSON = ("Content-Type", "application/json")
REUSED = "urn:problem:idempotency-key-reused"

KEYS = st.text(VISIBLE, min_size=1, max_size=255)


class Things:
    """A store in memory, and the things that handlers write; a transaction keeps both or neither."""

    def __init__(self):
        self.remembered = {}
        self.things = []
        self.patience_seconds = 20.0
        self._locks = defaultdict(threading.Lock)

    @contextmanager
    def claim(self, key):
        if not self._locks[key].acquire(timeout=self.patience_seconds):
            raise IdempotencyKeyInUse(retry_after_seconds=3)
        claim, before = Claim(self.remembered.get(key)), len(self.things)
        try:
            yield claim
        finally:
            if claim.last is None:
                del self.things[before:]
            else:
                self.remembered[key] = claim.last
            self._locks[key].release()


class Claim:
    def __init__(self, first):
        self.first = first
        self.last = None

    def remember(self, answer):
        self.last = answer


@pytest.fixture
def store():
    return Things()


@pytest.fixture
def serving(compiled, contract, store):
    """Serves the operation `create_thing` at two paths, with the store; its handler and its contract may be given."""

    def make(handler=None, *, parameter=None, operation=None, **options):
        def create_thing(body):
            store.things.append(body)
            if handler is not None:
                return handler(body)
            return {"number": len(store.things)}, 201, {"Location": "things/1"}

        def create_part(body):
            return create_thing(body)

        header = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}, **(parameter or {})}
        body = {"required": True, "content": {"application/json": {"schema": {}}}}
        found = {"parameters": [header], "requestBody": body, **(operation or {})}
        paths = {
            "/things": {"post": {"operationId": "create_thing", **found}},
            "/parts": {"post": {"operationId": "create_part", **found}},
        }
        return compiled(contract(paths), create_thing, create_part, idempotency_store=store, **options)

    return make


@pytest.fixture
def post(ask):
    """Sends a POST with the header `Idempotency-Key` once for each of the keys."""

    def send(app, *keys, body=b"{}", path="/things"):
        return ask(app, "POST", path, [JSON, *(("Idempotency-Key", key) for key in keys)], body)

    return send


# The grammar


@given(KEYS.filter(lambda key: not key.startswith('"')))
def test_a_bare_key_is_the_key(key):
    assert parse_key(key) == key


@given(KEYS)
def test_a_quoted_key_is_the_key_without_quotes_and_escapes(key):
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')

    assert parse_key(f'"{escaped}"') == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        '""',
        '"',
        '"a',
        "a b",
        '"a b"',
        '"a"b',
        '"a";p=1',
        '"a", "b"',
        "a, b",
        '"a\\b"',
        '"a\\"',
        "a\t",
        "a\n",
        "\x7f",
        "é",
        "a" * 256,
        f'"{"a" * 256}"',
        ":YQ==:\n",
    ],
)
def test_any_other_text_is_no_key(text):
    assert parse_key(text) is None


@given(st.text(max_size=20))
def test_a_key_is_1_to_255_visible_characters_whatever_was_sent(text):
    key = parse_key(text)

    assert key is None or (1 <= len(key) <= 255 and set(key) <= set(VISIBLE))


def test_the_order_of_members_makes_no_difference_to_a_request():
    one = {"body": {"a": {"x": 1, "y": 2}, "b": 10**30}}
    other = {"body": {"b": 10**30, "a": {"y": 2, "x": 1}}}

    assert digest_of(one) == digest_of(other)
    assert len(digest_of(one)) == 32


@pytest.mark.parametrize(
    "other",
    [
        {"body": {"a": 2}},
        {"body": {"a": "1"}},
        {"body": {"a": [1]}},
        {"body": {"a": 1, "b": None}},
        {"body": {"A": 1}},
        {"body": {"a": 1}, "if_match": EntityTags(('"1"',))},
    ],
)
def test_any_other_difference_makes_another_request(other):
    assert digest_of({"body": {"a": 1}}) != digest_of(other)


# The protocol


def test_201_and_nothing_remembered_without_a_key(serving, post, store):
    app = serving()

    assert [post(app).json(), post(app).json()] == [{"number": 1}, {"number": 2}]
    assert store.remembered == {}


def test_201_once_more_byte_for_byte_for_the_same_request(serving, post, store):
    app = serving()
    first = post(app, "k", body=b'{"a": 1, "b": 2}')
    again = post(app, '"k"', body=b' { "b":2, "a":1 } ')

    assert again == first
    assert first.header("location") == "/things/1"
    assert store.things == [{"a": 1, "b": 2}]


def test_the_last_request_of_many_with_other_keys_is_carried_out(serving, post, store):
    app = serving()

    assert [post(app, f"k{number}").json()["number"] for number in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(("body", "path"), [(b"[]", "/things"), (b"{}", "/parts")])
def test_422_for_another_request_with_the_key(serving, post, store, body, path):
    app = serving()
    post(app, "k")

    reply = post(app, "k", body=body, path=path)

    assert (reply.status, reply.json()["type"]) == (422, REUSED)
    assert store.things == [{}]


def test_409_with_a_time_to_wait_while_the_first_request_runs(serving, store):
    running, end = threading.Event(), threading.Event()

    def slow(_body):
        running.set()
        assert end.wait(20)
        return {"number": 1}, 201

    store.patience_seconds = 0.05
    app = serving(slow, workers=Workers(write_threads=2))

    async def main():
        first = asyncio.ensure_future(exchange(app, "POST", "/things", [JSON, ("Idempotency-Key", "k")], b"{}"))
        await asyncio.to_thread(running.wait, 20)
        second = await exchange(app, "POST", "/things", [JSON, ("Idempotency-Key", "k")], b"{}")
        end.set()
        return await first, second

    first, second = asyncio.run(main())

    assert first.status == 201
    assert (second.status, second.json()["type"], second.header("retry-after")) == (409, "about:blank", "3")


def test_one_of_many_equal_requests_at_once_is_carried_out(serving, store):
    app = serving(workers=Workers(write_threads=8))

    def send(_):
        return asyncio.run(exchange(app, "POST", "/things", [JSON, ("Idempotency-Key", "k")], b"{}"))

    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(send, range(8)))

    assert replies == [replies[0]] * 8
    assert store.things == [{}]


def refuse(_body):
    raise Problem("No.", status=418)


@pytest.mark.parametrize("handler", [refuse, lambda _: ("No.", 503), lambda _: 1 / 0, lambda _: ("No.", 400)])
def test_nothing_is_remembered_of_a_request_that_was_not_carried_out(serving, post, store, handler):
    handlers = iter([handler, lambda _: ("yes", 201)])

    def first_one_then_the_other(body):
        return next(handlers)(body)

    app = serving(first_one_then_the_other)
    refused = post(app, "k")
    after_it = list(store.things)

    carried_out = post(app, "k")

    assert (refused.status >= 400, after_it) == (True, [])
    assert carried_out.status == 201
    assert post(app, "k") == carried_out
    assert store.things == [{}]


def test_a_refused_request_does_not_reach_the_store(serving, post, store):
    assert post(serving(), "k", body=b"{").status == 400
    assert store.remembered == {}


def test_an_answer_of_a_werkzeug_response_and_a_streamed_one_come_again(serving, post):
    made = iter([Response("one", 202, {"X-Number": "1"}), iter([b"tw", b"o"])])
    app = serving(
        lambda _: next(made), operation={"responses": {"default": {"description": "", "content": {"text/plain": {}}}}}
    )
    first, second = post(app, "1"), post(app, "2")

    assert post(app, "1") == first
    assert post(app, "2") == second
    assert (first.body, first.header("x-number"), second.body) == (b"one", "1", b"two")


@pytest.mark.parametrize("key", ["", "a b", "\xe9", '"a', "a" * 256])
def test_400_for_a_key_that_is_none(serving, post, store, key):
    reply = post(serving(), key)

    assert reply.status == 400
    assert reply.faults == [("header", "/Idempotency-Key", "must be one string of 1 to 255 visible ASCII characters")]
    assert store.things == []


def test_400_for_two_keys(serving, post):
    assert post(serving(), "a", "b").status == 400


def test_400_for_a_key_that_the_contract_refuses(serving, post):
    reply = post(serving(parameter={"schema": {"type": "string", "minLength": 8}}), "short")

    assert reply.faults == [("header", "/Idempotency-Key", "must have at least 8 characters")]


def test_400_without_a_key_that_the_contract_requires(serving, post):
    reply = post(serving(parameter={"required": True}))

    assert reply.faults == [("header", "/Idempotency-Key", "is required")]


def test_a_hook_of_flask_sees_both_answers(serving, post):
    app = serving()
    seen = []
    app.app.after_request(lambda response: seen.append(response.status_code) or response)

    assert post(app, "k") == post(app, "k")
    assert seen == [201, 201]


# The start


def test_without_a_store_the_header_is_a_parameter_like_any_other(compiled, contract, post):
    def create_thing():
        return "made"

    header = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 3}}
    app = compiled(
        contract({"/things": {"post": {"operationId": "create_thing", "parameters": [header]}}}), create_thing
    )

    assert [post(app, key, body=b"").status for key in ("a b", "a b c")] == [200, 400]


def test_an_operation_that_does_not_document_the_statuses_stops_the_start(serving):
    with pytest.raises(ContractError) as stopped:
        serving(operation={"responses": {"201": {"description": ""}, "409": {"description": ""}}})

    assert list(stopped.value.faults) == [
        f"create_{name}: an operation with the parameter Idempotency-Key needs the response 422."
        for name in ("thing", "part")
    ]


def test_an_operation_that_is_left_to_stock_connexion_stops_the_start(serving):
    with pytest.raises(ContractError) as stopped:
        serving(operation={"security": [{"key": []}]})

    assert stopped.value.faults[0] == (
        "create_thing: Idempotency-Key works only in a compiled operation; this one has security."
    )


def test_middleware_that_leaves_every_operation_to_stock_connexion_stops_the_start(serving, post):
    app = serving()
    app.add_middleware(lambda inner: inner)

    with pytest.raises(ContractError, match="Idempotency-Key cannot work"):
        post(app, "k")
