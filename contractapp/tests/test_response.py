"""Responses: what a handler returns is converted, and checked with the contract."""

import logging
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from uuid import UUID

import connexion
import flask
import pytest
from connexion.lifecycle import ConnexionResponse
from werkzeug.datastructures import MultiDict

from contractapp.problems import NotFound, Problem

ITEM = {
    "type": "object",
    "required": ["id"],
    "additionalProperties": False,
    "properties": {"id": {"type": "integer"}, "secret": {"type": "string", "writeOnly": True}},
}
RESPONSES = {
    "200": {"description": "An item.", "content": {"application/json": {"schema": ITEM}}},
    "201": {
        "description": "Made.",
        "headers": {"Location": {"required": True, "schema": {"type": "string"}}},
        "content": {"application/json": {"schema": ITEM}},
    },
    "204": {"description": "Nothing."},
    "3XX": {"description": "Elsewhere."},
    "404": {"description": "None.", "content": {"application/problem+json": {"schema": {"type": "object"}}}},
    "409": {"description": "No.", "content": {"application/problem+json": {"schema": {"required": ["more"]}}}},
    "415": {"description": "Text.", "content": {"text/plain": {"schema": {"type": "string"}}}},
}
ERROR = {
    "type": "about:blank",
    "title": "Internal Server Error",
    "status": 500,
    "detail": "The server met an unexpected condition.",
}


@pytest.fixture
def answer(ask, compiled, contract):
    """The reply of an operation whose handler returns `result`, or calls it if it is a function."""

    def send(result, *, validate=True, path="/items", target=None, method="GET", responses=RESPONSES):
        def operation(**_):
            return result() if callable(result) else result

        parameters = (
            [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}] if "{" in path else []
        )
        paths = {path: {"get": {"operationId": "operation", "responses": responses, "parameters": parameters}}}
        app = compiled(contract(paths), operation, validate_responses=validate, server_args={"static_folder": None})
        return ask(app, method, target or path)

    return send


@pytest.mark.parametrize(
    ("result", "status", "content_type", "body"),
    [
        ({"id": 1}, 200, "application/json", b'{"id":1}'),
        (({"id": 1},), 200, "application/json", b'{"id":1}'),
        (({"id": 1}, 200), 200, "application/json", b'{"id":1}'),
        (({"id": 1}, HTTPStatus.OK), 200, "application/json", b'{"id":1}'),
        (({"id": 1}, {"X-More": "1"}), 200, "application/json", b'{"id":1}'),
        (({"id": 1}, 200, None), 200, "application/json", b'{"id":1}'),
        (({"id": 1}, 201, {"Location": "/items/1"}), 201, "application/json", b'{"id":1}'),
        (None, 204, None, b""),
        ((connexion.NoContent, 204), 204, None, b""),
        ((None, 204, {"Content-Type": "text/html"}), 204, None, b""),
        ((connexion.NoContent, 302, {"Location": "/"}), 302, None, b""),
        (({}, 404), 404, "application/problem+json", b"{}"),
        (("no", 415), 415, "text/plain; charset=utf-8", b"no"),
        ((b"no", 415), 415, "text/plain; charset=utf-8", b"no"),
        (lambda: flask.Response('{"id": 1}', mimetype="application/json"), 200, "application/json", b'{"id": 1}'),
        (lambda: (flask.Response("no", mimetype="text/plain"), 415), 415, "text/plain; charset=utf-8", b"no"),
        (lambda: ConnexionResponse(200, "application/json", body='{"id": 1}'), 200, "application/json", b'{"id": 1}'),
        (lambda: (iter(["n", b"o"]), 415), 415, "text/plain; charset=utf-8", b"no"),
    ],
)
def test_what_a_handler_may_return(answer, result, status, content_type, body):
    reply = answer(result)

    assert (reply.status, reply.header("content-type"), reply.body) == (status, content_type, body)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1.5"), b"1.5"),
        (2**64, b"18446744073709551616"),
        (UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (datetime(2026, 11, 24, tzinfo=UTC), b'"2026-11-24T00:00:00+00:00"'),
        (datetime(2026, 11, 24), b'"2026-11-24T00:00:00+00:00"'),  # noqa: DTZ001  # a naive datetime is what is tested
        (MultiDict([("a", 1), ("a", 2)]), b'{"a":1}'),
        (float("nan"), b"null"),
    ],
)
def test_values_that_are_not_plain_json_are_serialised(answer, value, text):
    anything = {"200": {"description": "Any.", "content": {"application/json": {"schema": {"type": "object"}}}}}
    reply = answer({"value": value}, responses=anything)

    assert (reply.status, reply.body.replace(b" ", b"")) == (200, b'{"value":' + text + b"}")


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (({"id": 1}, 202), "GET /items answered 202, which the contract does not document."),
        ({"id": "1"}, "GET /items answered 200 with a body that breaks the contract: /id must be an integer."),
        ({}, "GET /items answered 200 with a body that breaks the contract: /id is required."),
        ([], "GET /items answered 200 with a body that breaks the contract: / must be an object."),
        (
            {"id": 1, "secret": "s"},
            "GET /items answered 200 with a body that breaks the contract: /secret is not allowed here.",
        ),
        (({"id": 1}, 201), "GET /items answered 201 without the header location."),
        (
            ("a", 200, {"Content-Type": "text/plain"}),
            "GET /items answered 200 as text/plain, which the contract does not document.",
        ),
        ((None, 200), "GET /items answered 200 without the body that the contract documents."),
        (lambda: flask.Response("a"), "GET /items answered 200 as text/html, which the contract does not document."),
        (
            lambda: flask.Response('{"id": ""}', mimetype="application/json"),
            "GET /items answered 200 with a body that breaks the contract: /id must be an integer.",
        ),
        (
            lambda: flask.Response("{}", 203, mimetype="application/json"),
            "GET /items answered 203, which the contract does not document.",
        ),
        (lambda: raised(Problem(status=418)), "GET /items answered 418, which the contract does not document."),
        (
            lambda: raised(Problem(status=409)),
            "GET /items answered 409 with a body that breaks the contract: /more is required.",
        ),
        (
            lambda: raised(Problem(status=415)),
            "GET /items answered 415 as application/problem+json, which the contract does not document.",
        ),
    ],
)
def test_500_for_a_response_that_breaks_the_contract(answer, caplog, result, line):
    with caplog.at_level(logging.ERROR, "contractapp"):
        reply = answer(result)

    assert (reply.status, reply.header("content-type"), reply.json()) == (500, "application/problem+json", ERROR)
    assert [record.getMessage() for record in caplog.records] == [line]


def raised(problem):
    raise problem


@pytest.mark.parametrize(
    ("result", "status"),
    [(({"id": 1}, 202), 202), ({"id": "1"}, 200), (({}, 201), 201), (lambda: raised(Problem(status=418)), 418)],
)
def test_responses_are_not_checked_if_validation_is_off(answer, caplog, result, status):
    with caplog.at_level(logging.ERROR, "contractapp"):
        reply = answer(result, validate=False)

    assert (reply.status, caplog.records) == (status, [])


def test_a_problem_that_is_documented_is_sent(answer):
    reply = answer(lambda: raised(NotFound("There is no such item.")))

    assert (reply.status, reply.json()["detail"]) == (404, "There is no such item.")


def test_500_for_an_exception_that_is_described_only_in_the_log(answer, caplog):
    with caplog.at_level(logging.ERROR, "contractapp"):
        reply = answer(lambda: 1 // 0)

    assert (reply.status, reply.json()) == (500, ERROR)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_500_for_a_value_that_json_cannot_express(answer):
    assert answer(object()).status == 500


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b=c", "a\nb", "a\rb"])
def test_500_for_a_header_of_several_lines(answer, value):
    reply = answer(({"id": 1}, 200, {"X-More": value}))

    assert (reply.status, reply.header("x-more")) == (500, None)


@pytest.mark.parametrize(
    ("path", "target", "location", "resolved"),
    [
        ("/items", "/items", "items/1", "/items/1"),
        ("/items", "/items", "/other/1", "/other/1"),
        ("/items", "/items", "https://example.com/1", "https://example.com/1"),
        ("/items/{name}", "/items/a", "b", "/items/b"),
        ("/items/{name}", "/items/a", "../b", "/b"),
        ("/items/{name}", "/items/a", "?cursor=1", "/items/a?cursor=1"),
        ("/items/{name}", "/items/%C3%A9%20%3F%23", "?cursor=1", "/items/%C3%A9%20%3F%23?cursor=1"),
    ],
)
def test_a_relative_reference_is_resolved_against_the_path(answer, path, target, location, resolved):
    result = {"id": 1}, 201, {"Location": location, "Link": f'<{location}>; rel="next"'}
    reply = answer(result, path=path, target=target)

    assert (reply.header("location"), reply.header("link")) == (resolved, f'<{resolved}>; rel="next"')


def test_head_has_the_content_length_of_get(answer):
    reply = answer({"id": 1}, method="HEAD")

    assert (reply.status, reply.header("content-length"), reply.body) == (200, "8", b"")


def test_204_has_neither_length_nor_type(answer):
    reply = answer(lambda: flask.Response(status=204))

    assert reply.headers == []


def test_a_range_of_statuses_and_a_default_document_what_they_cover(answer):
    responses = {"2XX": {"description": "Fine."}, "default": {"description": "Anything else."}}

    assert answer(({}, 299), responses=responses).status == 299
    assert answer(({}, 599), responses=responses).status == 599


def test_a_media_type_may_have_parameters_in_the_contract(answer):
    responses = {"200": {"description": "An item.", "content": {"application/json; charset=utf-8": {"schema": ITEM}}}}

    assert answer({"id": 1}, responses=responses).header("content-type") == "application/json; charset=utf-8"
    assert answer({"id": ""}, responses=responses).status == 500


def test_responses_are_not_kept(ask, compiled, contract):
    numbers = iter(range(10_000))

    def operation():
        number = next(numbers)
        return "a", 1000 + number, {"Content-Type": f"text/plain; number={number}"}

    app = compiled(contract({"/items": {"get": {"operationId": "operation"}}}), operation)
    ask(app, "GET", "/items")
    (compiled_operation,) = app._endpoints.values()
    responses = compiled_operation.responses

    def entries():
        return sum(len(member) for member in vars(responses).values() if isinstance(member, dict))

    before = entries()
    for _ in range(50):
        ask(app, "GET", "/items")

    assert entries() == before
