"""Request bodies: media types, decoding, reading."""

import asyncio
import gc
import json
import tracemalloc

import pytest

from contractapp import Workers
from contractapp.compile.body import Entity, RequestBody, entity_of, is_json, parse_media_type, read_body
from contractapp.compile.document import Unsupported
from contractapp.problems import ContentTooLarge, InvalidRequest, RequestTimeout, UnsupportedMediaType


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("application/json", ("application/json", {})),
        ("Application/JSON;Charset=UTF-8", ("application/json", {"charset": "UTF-8"})),
        (' a/b ; x="a\\"b" ;\ty=1', ("a/b", {"x": 'a"b', "y": "1"})),
        ('a/b; x=""', ("a/b", {"x": ""})),
        ("a/b;", ("a/b", {"": ""})),
        ("", ("", {})),
    ],
)
def test_a_media_type_is_parsed_as_rfc_9110_says(value, expected):
    assert parse_media_type(value) == expected


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("application/json", True),
        ("application/problem+json; charset=utf-8", True),
        ("APPLICATION/JSON", True),
        ("text/json", False),
        ("application/jsonp", False),
        ("image/svg+xml", False),
    ],
)
def test_json_is_told_by_its_media_type(media_type, expected):
    assert is_json(media_type) is expected


@pytest.mark.parametrize(
    ("headers", "entity"),
    [
        ([], Entity(None, None, present=False)),
        ([(b"content-length", b"0")], Entity(None, 0, present=False)),
        ([(b"content-length", b"5"), (b"content-type", b"a/b")], Entity("a/b", 5, present=True)),
        ([(b"content-length", b"5"), (b"content-length", b"5")], Entity(None, 5, present=True)),
        ([(b"transfer-encoding", b"chunked")], Entity(None, None, present=True)),
        ([(b"content-encoding", b" Identity ")], Entity(None, None, present=False)),
    ],
)
def test_headers_announce_a_body(headers, entity):
    assert entity_of(headers, 10) == entity


@pytest.mark.parametrize("length", [b"", b"+1", b"-1", b"1_0", b" 1", b"1, 1", b"\xb2", b"9" * 5000])
def test_400_for_a_length_that_is_not_a_plain_number(length):
    with pytest.raises(InvalidRequest):
        entity_of([(b"content-length", length)], 10)


def test_400_for_two_lengths():
    with pytest.raises(InvalidRequest):
        entity_of([(b"content-length", b"1"), (b"content-length", b"2")], 10)


def test_413_takes_precedence_over_415():
    headers = [(b"content-length", b"11"), (b"content-encoding", b"gzip")]

    with pytest.raises(ContentTooLarge):
        entity_of(headers, 10)


def read(messages, limit=10, timeout_seconds=1.0):
    async def receive():
        return waiting.pop(0) if waiting else await asyncio.sleep(60)

    waiting = list(messages)
    return asyncio.run(read_body(receive, limit, timeout_seconds))


def message(body, *, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("messages", "content"),
    [
        ([message(b"0123456789")], b"0123456789"),
        ([message(b"01234", more=True), message(b"56789")], b"0123456789"),
        ([message(b"", more=True), message(b"")], b""),
        ([{"type": "http.request"}], b""),
    ],
)
def test_a_body_is_read_completely(messages, content):
    assert read(messages) == content


def test_413_as_soon_as_the_limit_is_passed():
    with pytest.raises(ContentTooLarge):
        read([message(b"0123456789", more=True), message(b"0", more=True)])


def test_400_for_an_incomplete_body():
    with pytest.raises(InvalidRequest):
        read([message(b"0", more=True), {"type": "http.disconnect"}])


def test_408_for_a_body_that_is_late():
    with pytest.raises(RequestTimeout):
        read([message(b"0", more=True)], timeout_seconds=0.01)


def echo(body):
    return {"body": body}


def application(compiled, contract, workers=None, **request_body):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    content = {"application/json": {"schema": schema}, "application/merge-patch+json": {"schema": {}}}
    paths = {"/echo": {"post": {"operationId": "echo", "requestBody": {"content": content, **request_body}}}}
    return compiled(contract(paths), echo, **({"workers": workers} if workers else {}))


@pytest.mark.parametrize("headers", [[], [("Content-Type", "application/json")]])
def test_an_optional_body_may_be_left_out(ask, compiled, contract, headers):
    reply = ask(application(compiled, contract), "POST", "/echo", headers)

    assert (reply.status, reply.json()) == (200, {"body": {}})


@pytest.mark.parametrize("headers", [[], [("Content-Type", "application/json")]])
def test_400_when_a_required_body_is_left_out(ask, compiled, contract, headers):
    reply = ask(application(compiled, contract, required=True), "POST", "/echo", headers)

    assert (reply.status, reply.faults) == (400, [("body", "", "is required")])


def test_each_media_type_has_its_own_schema(ask, compiled, contract):
    app = application(compiled, contract)
    json = ask(app, "POST", "/echo", [("Content-Type", "application/json")], b'{"b": 1}')
    patch = ask(app, "POST", "/echo", [("Content-Type", "application/merge-patch+json")], b'{"b": 1}')

    assert (json.status, patch.status) == (400, 200)


def test_the_last_of_two_equal_members_is_used(ask, compiled, contract):
    reply = ask(
        application(compiled, contract), "POST", "/echo", [("Content-Type", "application/json")], b'{"a": 1, "a": 2}'
    )

    assert reply.json() == {"body": {"a": 2}}


def test_large_integers_stay_exact(ask, compiled, contract):
    body = b'{"a": 123456789012345678901234567890}'
    reply = ask(application(compiled, contract), "POST", "/echo", [("Content-Type", "application/json")], body)

    assert json.loads(reply.body) == {"body": {"a": 123456789012345678901234567890}}


def test_408_closes_the_connection(ask, compiled, contract):
    app = application(compiled, contract, Workers(timeout_seconds=0.02))
    reply = ask(app, "POST", "/echo", [("Content-Type", "application/json"), ("Content-Length", "9")], [])

    assert (reply.status, reply.header("connection")) == (408, "close")


def test_413_and_415_name_what_is_accepted(ask, compiled, contract):
    app = application(compiled, contract)
    untyped = ask(app, "POST", "/echo", [], b"{}")
    coded = ask(app, "POST", "/echo", [("Content-Type", "application/json"), ("Content-Encoding", "gzip")], b"{}")

    accepted = "application/json or application/merge-patch+json"
    assert untyped.json()["detail"] == f"The request has a body but no Content-Type; send {accepted}."
    assert coded.header("accept-encoding") == "identity"


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/*", "*/*", "application/json; charset=utf-8", "multipart/form-data"]
)
def test_a_media_type_that_is_not_plain_json_is_left_to_stock(media_type):
    with pytest.raises(Unsupported):
        RequestBody({"content": {media_type: {}}}, {})


def test_a_default_for_the_whole_body_is_left_to_stock():
    with pytest.raises(Unsupported):
        RequestBody({"content": {"application/json": {"schema": {"default": {}}}}}, {})


def test_415_for_a_body_that_was_not_announced():
    with pytest.raises(UnsupportedMediaType):
        RequestBody({"content": {"application/json": {}}}, {}).read(b"{}", None, [])


def grown(act):
    """The bytes still allocated after the call, and the maximum allocated during the call."""
    gc.collect()
    tracemalloc.start()
    try:
        act()
        gc.collect()
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


def test_content_types_sent_by_clients_are_not_kept():
    body = RequestBody({"content": {"application/json": {}}}, {})

    def send():
        for number in range(300):
            content_type = f"application/json; x={number:060000}"
            body.check_media_type(Entity(content_type, 1, present=True))

    assert grown(send)[0] < 100_000


def test_a_body_in_small_pieces_takes_little_more_memory_than_its_length():
    size = 300_000

    def pieces():
        for number in range(size // 3):
            yield message(b"%03d" % (number % 1000), more=True)
        yield message(b"")

    async def receive(waiting=pieces()):  # noqa: B008
        return next(waiting)

    assert grown(lambda: asyncio.run(read_body(receive, size, 60)))[1] < 5 * size
