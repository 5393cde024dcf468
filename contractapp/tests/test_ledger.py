"""The ledger: each way in which a response can break the contract, and each kind of gap."""

import json

import pytest

from contractapp.testing.ledger import Contract, Ledger, Response

DOCUMENT = {
    "paths": {
        "/things": {
            "get": {"operationId": "list_things", "responses": {"200": {"description": "none"}}},
            "post": {
                "operationId": "create_thing",
                "responses": {
                    "201": {
                        "headers": {
                            "Location": {"required": True, "schema": {"type": "string", "pattern": "^/"}},
                            "Age": {"schema": {"type": "integer", "minimum": 1}},
                        },
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                        "links": {
                            "get_thing": {
                                "operationId": "get_thing",
                                "parameters": {"thing_id": "$response.body#/id"},
                            }
                        },
                    },
                    "405": {"headers": {"Allow": {"required": True, "schema": {"type": "string"}}}},
                },
            },
        },
        "/things/{thing_id}": {
            "get": {
                "operationId": "get_thing",
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}}
                },
            }
        },
    },
    "components": {
        "schemas": {
            "Thing": {
                "type": "object",
                "required": ["id"],
                "properties": {"id": {"type": "integer", "format": "int32"}},
            },
            "Problem": {"type": "object", "required": ["error"]},
        }
    },
}
JSON = ("content-type", "application/json")


def reply(method, path, status, headers=(), body=b"", **more):
    return Response(method, path, "", b"", status, list(headers), body, "/api")._replace(**more)


CREATED = reply("POST", "/api/things", 201, [JSON, ("location", "/1"), ("age", "1")], b'{"id": 1}', sent=b"{}")
FOUND = reply("GET", "/api/things/1", 200, [JSON], b'{"id": 1}')
LISTED = reply("GET", "/api/things", 200)
REFUSED = reply("PUT", "/api/things", 405, [("allow", "GET, HEAD, OPTIONS, POST")])


@pytest.fixture
def ledger():
    return Ledger(Contract(json.loads(json.dumps(DOCUMENT)), "#/components/schemas/Problem"))


@pytest.mark.parametrize(
    ("response", "breach"),
    [
        (CREATED._replace(status=202), "POST /things answered 202, which create_thing does not document"),
        (CREATED._replace(headers=CREATED.headers[1:]), "POST /things 201: media type None is not documented"),
        (
            CREATED._replace(headers=[("content-type", "text/html"), *CREATED.headers[1:]]),
            "POST /things 201: media type text/html is not documented",
        ),
        (
            CREATED._replace(headers=[*CREATED.headers, ("x-more", "1")]),
            "POST /things 201: header x-more is not documented",
        ),
        (
            CREATED._replace(headers=[*CREATED.headers, ("age", "1")]),
            "POST /things 201: header age is there more than once",
        ),
        (CREATED._replace(headers=[JSON]), "POST /things 201: header location is missing"),
        (
            CREATED._replace(headers=[JSON, ("location", "things/1")]),
            "POST /things 201: header location: the whole breaks pattern ^/",
        ),
        (
            CREATED._replace(headers=[JSON, ("location", "/1"), ("age", "0")]),
            "POST /things 201: header age: the whole breaks minimum 1",
        ),
        (
            CREATED._replace(headers=[JSON, ("location", "/1"), ("age", "+1")]),
            "POST /things 201: header age: the whole breaks type integer",
        ),
        (
            CREATED._replace(headers=[*CREATED.headers, ("content-length", "8")]),
            "POST /things 201: Content-Length is not the length of the body",
        ),
        (CREATED._replace(body=b"{"), "POST /things 201: the body is not JSON"),
        (FOUND._replace(body=b'{"id": 1, "size": NaN}'), "GET /things/{thing_id} 200: the body is not JSON"),
        (FOUND._replace(body=b'{"id": "1"}'), "GET /things/{thing_id} 200: id breaks type integer"),
        (CREATED._replace(body=b"1"), "create_thing 201: link get_thing: $response.body#/id has no value"),
        (FOUND._replace(body=b'{"id": 2147483648}'), "GET /things/{thing_id} 200: id breaks format int32"),
        (FOUND._replace(body=b"{}"), "GET /things/{thing_id} 200: the whole breaks required ['id']"),
        (LISTED._replace(body=b"x"), "GET /things 200: media type None is not documented"),
        (REFUSED._replace(status=404), "PUT /things answered 404, not 405"),
        (REFUSED._replace(headers=[("allow", "GET")]), "PUT /things 405: Allow says 'GET'"),
        (FOUND._replace(method="HEAD"), "HEAD /things/{thing_id} answered with a body"),
        (
            FOUND._replace(method="HEAD", body=b"", headers=[]),
            "HEAD /things/{thing_id} 200: media type None is not documented for GET",
        ),
        (
            FOUND._replace(method="HEAD", body=b"", status=204),
            "HEAD /things/{thing_id} answered 204, which GET does not document",
        ),
        (REFUSED._replace(method="OPTIONS", status=200), "OPTIONS /things answered 200, not 204 without a body"),
        (
            REFUSED._replace(method="OPTIONS", status=204, headers=[("allow", "GET, HEAD")]),
            "OPTIONS /things 204: Allow says 'GET, HEAD'",
        ),
        (FOUND._replace(path="/api/thing"), "GET outside the contract's paths answered 200, not 404"),
        (
            FOUND._replace(path="/api/thing", status=404),
            "GET outside the contract's paths answered application/json",
        ),
        (
            FOUND._replace(path="/", status=404, headers=[("content-type", "application/problem+json")], body=b"{}"),
            "GET outside the contract's paths: the whole breaks required ['error']",
        ),
    ],
)
def test_a_breach_is_reported(ledger, response, breach):
    ledger.record(response)

    assert breach in ledger.breaches


def test_a_breach_names_the_first_test_that_got_it(ledger):
    ledger.record(CREATED._replace(status=202), "test_one")
    ledger.record(CREATED._replace(status=202), "test_two")

    assert list(ledger.breaches.values()) == ["test_one"]


def test_no_gaps_when_everything_was_seen(ledger):
    for response in (LISTED, CREATED, FOUND, REFUSED):
        ledger.record(response)

    assert (ledger.gaps(), ledger.breaches) == (
        [],
        {"PUT /things answered 405, which list_things does not document": ""},
    )


@pytest.mark.parametrize(
    ("responses", "gap"),
    [
        ((CREATED, FOUND, REFUSED), "list_things 200 was never seen"),
        ((LISTED, CREATED, FOUND), "create_thing 405 was never seen"),
        ((LISTED, CREATED, REFUSED), "get_thing 200 was never seen"),
        ((LISTED, FOUND, CREATED, REFUSED), "create_thing 201: link get_thing was never seen"),
        (
            (LISTED, CREATED, FOUND._replace(path="/api/things/2"), REFUSED),
            "create_thing 201: link get_thing was never seen",
        ),
        (
            (LISTED, CREATED._replace(headers=CREATED.headers[:2]), FOUND, REFUSED),
            "create_thing 201: header Age was never seen",
        ),
        (
            (LISTED, CREATED._replace(headers=[("content-type", "a/b")]), FOUND, REFUSED),
            "create_thing 201: media type application/json was never seen",
        ),
    ],
)
def test_a_gap_is_reported(ledger, responses, gap):
    for response in responses:
        ledger.record(response)

    assert gap in ledger.gaps()


def test_a_link_counts_only_within_one_test(ledger):
    ledger.record(CREATED, "test_one")
    ledger.record(FOUND, "test_two")

    assert "create_thing 201: link get_thing was never seen" in ledger.gaps()


def test_head_and_options_do_not_count_as_seen(ledger):
    ledger.record(FOUND._replace(method="HEAD", body=b""))
    ledger.record(REFUSED._replace(method="OPTIONS", status=204))

    assert (sum(ledger.seen.values()), ledger.breaches) == (0, {})


def test_records_of_other_processes_count_too(ledger):
    """The records pass through `repr` and back, because pytest-xdist transfers only lists, dictionaries etc."""
    others = [Ledger(ledger.contract) for _ in range(2)]
    others[0].record(CREATED)
    others[0].record(FOUND)
    others[1].record(FOUND._replace(status=500), "test_two")
    for other in others:
        ledger.add(json.loads(json.dumps(other.taken())))
    ledger.record(FOUND)
    ledger.add(json.loads(json.dumps(others[0].taken())))

    assert ledger.seen["get_thing", "200", "status", ""] == 3
    assert ledger.responses == 6
    assert ledger.breaches == {"GET /things/{thing_id} answered 500, which get_thing does not document": "test_two"}
    assert ledger.gaps() == ["list_things 200 was never seen", "create_thing 405 was never seen"]
