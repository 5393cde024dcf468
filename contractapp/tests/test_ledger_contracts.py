"""The ledger with small contracts of many kinds: what is documented, what counts as seen, what is a breach."""

import json
from functools import partial

import pytest

from contractapp import ContractApp, ContractError
from contractapp.compile.document import read_document, require_openapi_30
from contractapp.testing import ledger as plugin
from contractapp.testing.ledger import Contract, Ledger, Response

JSON = ("content-type", "application/json")
TEXT = {"schema": {"type": "string"}}
NONE = {"description": "none"}


def reply(method, path, status, headers=(), body=b"", **more):
    return Response(method, path, "", b"", status, list(headers), body)._replace(**more)


def ledger_of(paths, schemas=None, **options):
    document = {"openapi": "3.0.3", "paths": paths, "components": {"schemas": schemas or {}}}
    return Ledger(Contract(document), **options)


def one(responses, **more):
    """A contract with one operation that has these responses."""
    return {"/thing": {"get": {"operationId": "thing", "responses": responses, **more}}}


def breaches(ledger, *responses):
    for response in responses:
        ledger.record(response)
    return list(ledger.breaches)


def test_an_operation_without_an_operation_id_is_named_by_method_and_path():
    ledger = ledger_of({"/things/{id}": {"delete": {"responses": {204: NONE}}}})

    assert ledger.gaps() == ["DELETE /things/{id} 204 was never seen"]
    assert breaches(ledger, reply("DELETE", "/things/1", 204)) == ledger.gaps() == []


@pytest.mark.parametrize(
    ("status", "seen"), [(200, "200"), (201, "2XX"), (404, "4xx"), (500, "default"), (302, "default")]
)
def test_a_status_counts_for_its_own_entry_then_its_range_then_the_default(status, seen):
    ledger = ledger_of(one({"200": NONE, "2XX": NONE, "4xx": NONE, "default": NONE}))

    assert breaches(ledger, reply("GET", "/thing", status)) == []
    assert [entry[1] for entry in ledger.seen] == [seen]
    assert f"thing {seen} was never seen" not in ledger.gaps()
    assert len(ledger.gaps()) == 3


@pytest.mark.parametrize(
    ("documented", "sent", "seen"),
    [
        ("text/plain", "text/plain; charset=utf-8", True),
        ("text/plain; charset=utf-8", "text/plain;charset=UTF-8", True),
        ("application/JSON", "application/json", True),
        ("image/*", "image/png", True),
        ("*/*", "image/png", True),
        ("image/*", "text/plain", False),
        ("text/plain", None, False),
    ],
)
def test_a_media_type_counts_for_itself_or_its_range(documented, sent, seen):
    ledger = ledger_of(one({"200": {"content": {documented: {}}}}))

    found = breaches(ledger, reply("GET", "/thing", 200, [("content-type", sent)] if sent else [], b"1"))

    assert ledger.seen["thing", "200", "media type", documented] == seen
    assert (found == []) == seen


@pytest.mark.parametrize(
    ("sent", "seen"), [("image/png", "image/png"), ("image/jpeg", "image/*"), ("text/plain", "*/*")]
)
def test_an_exact_media_type_takes_precedence_over_its_range(sent, seen):
    ledger = ledger_of(one({"200": {"content": {"*/*": {}, "image/*": {}, "image/png": {}}}}))
    ledger.record(reply("GET", "/thing", 200, [("content-type", sent)], b"\x89PNG"))

    assert [entry[3] for entry in ledger.seen if entry[2] == "media type"] == [seen]


def test_extensions_of_the_document_are_neither_paths_nor_statuses():
    ledger = ledger_of({**one({"200": NONE, "x-more": [1]}), "x-more": [1]})

    assert [entry[:2] for entry in ledger.contract.documented()] == [("thing", "200")]


@pytest.mark.parametrize(
    ("media_type", "body", "good"),
    [
        ("application/json", b'"long"', False),
        ("application/vnd.thing+json", b'"long"', False),
        ("application/vnd.thing+json", b'"ok"', True),
        ("text/csv", b"long", False),
        ("text/csv", b"ok", True),
        ("image/png", b"long", True),
    ],
)
def test_json_and_text_are_checked_with_their_schema(media_type, body, good):
    ledger = ledger_of(one({"200": {"content": {media_type: {"schema": {"type": "string", "maxLength": 2}}}}}))

    found = breaches(ledger, reply("GET", "/thing", 200, [("content-type", media_type)], body))

    assert found == ([] if good else ["GET /thing 200: the whole breaks maxLength 2"])


TREE = {"type": "object", "required": ["children"], "properties": {"children": {"type": "array"}}}
TREE["properties"]["children"]["items"] = {"$ref": "#/components/schemas/Tree"}


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        ({"children": [{"children": []}]}, []),
        ({"children": [{"children": [{}]}]}, ["children/0/children/0 breaks required ['children']"]),
    ],
)
def test_a_recursive_schema_is_supported(tree, fault):
    responses = {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}}}
    ledger = ledger_of(one(responses), {"Tree": TREE})

    found = breaches(ledger, reply("GET", "/thing", 200, [JSON], json.dumps(tree).encode()))

    assert found == [f"GET /thing 200: {text}" for text in fault]


SECRET = {"type": "string", "writeOnly": True}


@pytest.mark.parametrize(
    ("schema", "value", "good"),
    [
        ({"type": "string", "nullable": True}, None, True),
        ({"type": "string"}, None, False),
        ({"type": "string", "nullable": True, "enum": ["a"]}, None, False),
        ({"type": "object", "required": ["key"], "properties": {"key": SECRET}}, {}, True),
        ({"type": "object", "properties": {"key": SECRET}}, {"key": "1"}, False),
        ({"type": "integer", "format": "int64"}, 2**63, False),
    ],
)
def test_schemas_are_checked_as_openapi_defines(schema, value, good):
    ledger = ledger_of(one({"200": {"content": {"application/json": {"schema": schema}}}}))

    found = breaches(ledger, reply("GET", "/thing", 200, [JSON], json.dumps(value).encode()))

    assert (found == []) == good


@pytest.mark.parametrize(
    ("schema", "value", "good"),
    [
        ({"type": "integer"}, "-1", True),
        ({"type": "integer"}, "1.5", False),
        ({"type": "number", "maximum": 2}, "1.5", True),
        ({"type": "number"}, "many", False),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "True", False),
        ({"type": "array", "items": {"type": "integer"}}, "1, 2", True),
        ({"type": "array", "items": {"type": "integer"}}, "1, b", False),
    ],
)
def test_a_header_is_decoded_by_its_schema(schema, value, good):
    ledger = ledger_of(one({"200": {"headers": {"X-Size": {"schema": schema}}}}))

    assert (breaches(ledger, reply("GET", "/thing", 200, [("x-size", value)])) == []) == good


def test_a_cookie_may_be_set_twice():
    ledger = ledger_of(one({"200": {"headers": {"Set-Cookie": TEXT}}}))

    assert breaches(ledger, reply("GET", "/thing", 200, [("set-cookie", "a=1"), ("set-cookie", "b=2")])) == []


def test_ignored_paths_and_headers_need_not_be_documented():
    ledger = ledger_of(one({"200": NONE}), ignored_paths=["/metrics"], ignored_headers=["X-Request-Id"])
    ignored = reply("GET", "/metrics/all", 200), reply("GET", "/thing", 200, [("x-request-id", "1")])

    assert breaches(ledger, *ignored) == []
    assert breaches(ledger, reply("GET", "/other", 200)) == ["GET outside the contract's paths answered 200, not 404"]


def test_head_and_options_must_match_their_own_operations_if_there_are_any():
    paths = {"/thing": {"head": {"responses": {"204": NONE}}, "options": {"responses": {"200": NONE}}}}
    ledger = ledger_of(paths)

    assert breaches(ledger, reply("HEAD", "/thing", 204), reply("OPTIONS", "/thing", 200)) == []
    assert ledger.gaps() == []
    assert breaches(ledger, reply("HEAD", "/thing", 200)) == [
        "HEAD /thing answered 200, which HEAD /thing does not document"
    ]


def test_head_may_match_the_default_response_of_get():
    ledger = ledger_of(one({"default": NONE}))

    assert breaches(ledger, reply("HEAD", "/thing", 200)) == []


@pytest.mark.parametrize(
    ("path", "template", "values"),
    [
        ("/things/all", "/things/all", {}),
        ("/things/1", "/things/{id}", {"id": "1"}),
        ("/things/1.json", "/things/{id}.json", {"id": "1"}),
        ("/things/1-2", "/things/{low}-{high}", {"low": "1", "high": "2"}),
        ("/files/a/b", "/files/{name}", {"name": "a/b"}),
    ],
)
def test_the_template_with_the_most_literal_text_matches(path, template, values):
    wide = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "format": "path"}}
    templates = ("/things/{id}", "/things/all", "/things/{id}.json", "/things/{low}-{high}")
    paths = {name: {"get": {"responses": {}}} for name in templates}
    paths["/files/{name}"] = {"parameters": [wide], "get": {"responses": {}}}

    assert Contract({"paths": paths}).find(path) == (template, values)


def test_only_allow_is_checked_in_an_undocumented_405():
    ledger = ledger_of(one({"200": NONE}))

    assert breaches(ledger, reply("PUT", "/thing", 405, [("allow", "GET, HEAD, OPTIONS")])) == []
    assert breaches(ledger, reply("PUT", "/thing", 405)) == ["PUT /thing 405: Allow says ''"]


def test_a_405_counts_for_the_default_response():
    ledger = ledger_of(one({"default": {"headers": {"Allow": TEXT}}}))

    assert breaches(ledger, reply("PUT", "/thing", 405, [("allow", "GET, HEAD, OPTIONS")])) == []
    assert ledger.gaps() == []


LINKED = {
    "/things": {
        "parameters": [{"$ref": "#/components/parameters/tenant"}],
        "post": {"operationId": "create", "responses": {"201": {"links": {}, **NONE}}},
    },
    "/things/{id}": {
        "get": {"operationId": "read", "responses": {"200": NONE}},
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
    },
}


@pytest.mark.parametrize("name", ["id", "path.id"])
@pytest.mark.parametrize(
    ("expression", "ident"),
    [
        ("$response.body#/things/0/id", "7"),
        ("$response.body#/a~1b", "8"),
        ("$response.header.X-Id", "9"),
        ("$request.body#/id", "10"),
        ("$request.query.id", "1 1"),
        ("$request.header.X-Tenant", "12"),
        ("$statusCode", "201"),
        ("$method", "POST"),
        ("$url", "http://test/things?id=1%201"),
        ("n{$response.body#/a~1b}-{$statusCode}", "n8-201"),
        ("fixed", "fixed"),
        (14, "14"),
        (True, "true"),
    ],
)
def test_a_link_is_followed_whatever_its_expression(name, expression, ident):
    paths = json.loads(json.dumps(LINKED))
    link = {"operationId": "read", "parameters": {name: expression}}
    paths["/things"]["post"]["responses"]["201"] |= {"links": {"self": link}, "headers": {"X-Id": TEXT}}
    paths["/things"]["post"]["responses"]["201"]["content"] = {"application/json": {}}
    del paths["/things"]["parameters"]
    ledger = ledger_of(paths)
    created = reply("POST", "/things", 201, [JSON, ("x-id", "9")], b'{"things": [{"id": 7}], "a/b": 8}')._replace(
        query="id=1%201", sent=b'{"id": 10}', url="http://test/things?id=1%201", sent_headers=(("x-tenant", "12"),)
    )

    assert breaches(ledger, created, reply("GET", "/things/other", 200)) == []
    assert ledger.gaps() == ["create 201: link self was never seen"]

    ledger.record(reply("GET", "/things/-", 200)._replace(path=f"/things/{ident}") if "/" not in ident else created)
    if "/" in ident:  # such a value cannot be in a path segment, but in a query parameter
        assert ledger._offered["read"] == {("create", "201", "self", ((name, ident),))}
    else:
        assert ledger.gaps() == []


@pytest.mark.parametrize(
    "expression",
    ["$response.body#/none", "$response.header.none", "$request.path.none", "$response.query.a", "$other", "{$other}"],
)
def test_an_expression_without_a_value_is_a_breach(expression):
    link = {"operationId": "thing", "parameters": {"a": expression}}
    ledger = ledger_of(one({"200": {"links": {"self": link}}}))

    assert breaches(ledger, reply("GET", "/thing", 200)) == [f"thing 200: link self: {expression} has no value"]


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ({"operationId": "read"}, "read"),
        ({"operationRef": "#/paths/~1things~1{id}/get"}, "read"),
        ({"operationRef": "#/paths/~1things~1%7Bid%7D/get"}, "read"),
        ({"operationRef": "#/paths/~1nothing/get"}, None),
        ({"operationRef": "https://example.com/openapi.yaml#/paths/~1things~1{id}/get"}, None),
    ],
)
def test_a_link_names_its_operation_or_leads_out_of_the_contract(link, target):
    paths = json.loads(json.dumps(LINKED))
    del paths["/things"]["parameters"]
    paths["/things"]["post"]["responses"]["201"]["links"] = {"self": link}
    ledger = ledger_of(paths)

    assert ledger.contract.target(link) == target
    assert [entry[3] for entry in ledger.contract.documented() if entry[2] == "link"] == ["self"] * bool(target)
    assert breaches(ledger, reply("POST", "/things", 201)) == []


def test_references_into_other_files_are_followed(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "answers.yaml").write_text(
        "Found: {content: {application/json: {schema: {$ref: '../schemas.json#/Day'}}}}\n"
    )
    (tmp_path / "schemas.json").write_text('{"Day": {"type": "string", "enum": ["2026-01-01"]}}')
    (tmp_path / "openapi.yaml").write_text(
        "openapi: 3.0.3\npaths: {/thing: {get: {responses: {200: {$ref: 'parts/answers.yaml#/Found'}}}}}\n"
    )
    file = tmp_path / "openapi.yaml"
    ledger = Ledger(Contract(read_document(file), uri=file.as_uri()))

    assert breaches(ledger, reply("GET", "/thing", 200, [JSON], b'"2026-01-01"')) == []
    assert breaches(ledger, reply("GET", "/thing", 200, [JSON], b"1"))[0].startswith("GET /thing 200: the whole breaks")


def test_a_schema_on_the_network_is_not_read():
    schema = {"$ref": "https://example.com/schemas.json#/Thing"}
    ledger = ledger_of(one({"200": {"content": {"application/json": {"schema": schema}}}}))

    assert breaches(ledger, reply("GET", "/thing", 200, [JSON], b"1")) == [
        "GET /thing 200: the whole breaks $ref https://example.com/schemas.json#/Thing"
    ]


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        ({"/thing": {"$ref": "#/none"}}, "/thing: the reference #/none leads nowhere that the ledger can read."),
        (
            {"/thing": {"get": {"responses": {"200": {"$ref": "none.yaml#/Found"}}}}},
            "GET /thing 200: the reference file:///none.yaml#/Found leads nowhere that the ledger can read.",
        ),
    ],
)
def test_a_missing_response_is_reported(paths, sentence):
    with pytest.raises(ContractError) as raised:
        ledger_of(paths)

    assert raised.value.faults == (sentence,)


def test_dates_and_numbers_in_yaml_are_read_as_in_json(tmp_path):
    (tmp_path / "a.yaml").write_text("200: 2026-01-01\n1.5: [true, {5: 2026-01-01T00:00:00Z}]\n")

    assert read_document(tmp_path / "a.yaml") == {"200": "2026-01-01", "1.5": [True, {"5": "2026-01-01T00:00:00Z"}]}


@pytest.mark.parametrize("text", [b"{{ version }}", b"a: [", b"\xff", None])
def test_a_file_that_is_not_a_document_is_reported_in_a_sentence(text, tmp_path):
    if text is not None:
        (tmp_path / "a.yaml").write_bytes(text)

    with pytest.raises(ContractError, match=r"a\.yaml cannot be read: .+") as raised:
        read_document(tmp_path / "a.yaml")

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"openapi": "3.1.0"}, "OpenAPI 3.1.0"),
        ({"swagger": "2.0"}, "Swagger 2.0"),
        ({}, "not OpenAPI"),
        (None, "not OpenAPI"),
    ],
)
def test_another_version_is_reported(document, said):
    with pytest.raises(ContractError, match=rf"^a\.yaml is {said}: only OpenAPI 3\.0 is read\.$"):
        require_openapi_30(document, "a.yaml")


KEY = {"type": "apiKey", "in": "header", "name": "X-Key", "x-apikeyInfoFunc": "operator.not_"}
PROBLEM = {"description": "refused", "content": {"application/problem+json": {}}}
SECURED = {"operationId": "secret", "security": [{"key": []}], "responses": {"200": NONE, "401": PROBLEM}}


@pytest.mark.parametrize(
    ("servers", "target"),
    [([{"url": "https://a.example/v1"}, {"url": "/v2"}], "/v1/things"), ([{"url": "/"}], "/things"), ([], "/things")],
)
def test_an_application_with_security_is_recorded(contract, ask, servers, target):
    document = contract({"/things": {"get": SECURED}}, components={"securitySchemes": {"key": KEY}}, servers=servers)
    app = ContractApp("api")
    app.add_api(document, handlers={"secret": lambda: None})
    ledger = Ledger(Contract(document))

    refused = ask(partial(plugin._recorded(ledger), app), "GET", target)

    assert (refused.status, ledger.responses, ledger.breaches) == (401, 1, {})
    assert ledger.gaps() == ["secret 200 was never seen"]


def test_an_application_with_another_contract_is_not_recorded(contract, ask):
    app = ContractApp("api")
    app.add_api(contract({"/others": {"get": {"operationId": "other"}}}), handlers={"other": lambda: None})
    ledger = ledger_of(one({"200": NONE}))

    assert ask(partial(plugin._recorded(ledger), app), "GET", "/others").status == 204
    assert ledger.responses == 0
