"""`contractapp.compat` judges each of these changes of a contract correctly."""

import copy
from pathlib import Path

import pytest
import yaml

from contractapp import ContractError, compat

CONTRACT = yaml.safe_load((Path(__file__).parent / "things.yaml").read_text())


def at(document, *path):
    for key in path:
        document = document[key]
    return document


def schema(*path):
    return lambda document: at(document, "components", "schemas", *path)


def operation(path, method, *rest):
    return lambda document: at(document, "paths", path, method, *rest)


def put(where, **values):
    def change(document):
        where(document).update(values)

    return change


def drop(where, key):
    def change(document):
        found = where(document)
        found.remove(key) if isinstance(found, list) else found.pop(key)

    return change


def append(where, value):
    def change(document):
        where(document).append(value)

    return change


def rename(where, old, new):
    def change(document):
        found = where(document)
        found[new] = found.pop(old)

    return change


def ref(name):
    return {"$ref": f"#/components/schemas/{name}"}


def with_types(*types):
    """The schema of a problem whose `type` is one of these."""
    problem = copy.deepcopy(schema("Problem")(CONTRACT))
    problem["properties"]["type"]["enum"] = list(types)
    return problem


TAG_PROBLEM = {"content": {"application/problem+json": {"schema": ref("TagProblem")}}}
NARROWED = {"allOf": [ref("Problem"), {"properties": {"type": {"enum": ["about:blank"]}}}]}

TEXT = {"type": "string"}
EXTRA = {"name": "extra", "in": "query", "schema": TEXT}
LIMIT = ("components", "parameters", "limit")
CREATE = ("/things", "post")
CREATED = ("responses", "201")
KEY, TOKEN = {"key": []}, {"token": []}

BREAKING = {
    "an operationId is removed": (
        drop(operation(*CREATE), "operationId"),
        "POST /things has another operationId",
    ),
    "a method is removed": (drop(lambda d: at(d, "paths", "/things"), "post"), "POST /things is gone."),
    "a path is renamed": (rename(lambda d: d["paths"], "/things", "/goods"), "GET /things is gone."),
    "an operationId changes": (
        put(operation("/things", "get"), operationId="things"),
        "GET /things has another operationId",
    ),
    "a limit of a request narrows": (
        put(schema("NewThing", "properties"), name={"type": "string", "maxLength": 40}),
        "POST /things: the body at /name takes less than before: maxLength 80 -> 40.",
    ),
    "a request member becomes required": (
        append(schema("NewThing", "required"), "colour"),
        'POST /things: the body takes less than before: required ["name"] -> ["name", "colour"]',
    ),
    "a request member is removed": (drop(schema("NewThing", "properties"), "colour"), "POST /things: the body"),
    "a request member changes its type": (
        put(schema("NewThing", "properties"), colour={"type": "integer"}),
        "POST /things: the body at /colour takes less than before",
    ),
    "a request pattern changes": (
        put(schema("NewThing", "properties"), colour={"type": "string", "pattern": "^[a-z]*$"}),
        "POST /things: the body at /colour",
    ),
    "a pattern cannot be read": (
        put(schema("NewThing", "properties"), colour={"type": "string", "pattern": "(?<=a"}),
        "POST /things: the body has changed in a way that cannot be shown to be compatible: it cannot be read",
    ),
    "a reference leads into another file": (
        put(schema("NewThing", "properties"), colour={"$ref": "colours.yaml#/Colour"}),
        "cannot be shown to be compatible: it cannot be read, a reference to another file",
    ),
    "a parameter narrows": (
        lambda d: at(d, *LIMIT, "schema").update(maximum=50),
        "GET /things: query parameter limit takes less than before: maximum 100 -> 50.",
    ),
    "a default changes": (
        lambda d: at(d, *LIMIT, "schema").update(default=20),
        "GET /things: the default of query parameter limit was 100 and is 20.",
    ),
    "a parameter loses its default": (
        lambda d: at(d, *LIMIT, "schema").pop("default"),
        "GET /things: the default of query parameter limit was 100 and is None.",
    ),
    "a parameter becomes required": (
        lambda d: at(d, *LIMIT).update(required=True),
        "GET /things: query parameter limit is now required.",
    ),
    "a parameter is removed": (
        lambda d: operation("/things", "get", "parameters")(d).pop(0),
        "GET /things no longer takes query parameter colour.",
    ),
    "a parameter moves": (
        lambda d: at(d, *LIMIT).update({"in": "header"}),
        "GET /things no longer takes query parameter limit.",
    ),
    "a parameter is written in another style": (
        lambda d: at(d, *LIMIT).update(explode=False),
        "GET /things: query parameter limit is written in another style.",
    ),
    "a parameter becomes JSON": (
        lambda d: at(d, *LIMIT).update(content={"application/json": {"schema": at(d, *LIMIT).pop("schema")}}),
        "GET /things: query parameter limit is written in another style.",
    ),
    "a required parameter is added": (
        append(operation("/things", "get", "parameters"), {**EXTRA, "required": True}),
        "GET /things takes the new required query parameter extra.",
    ),
    "a body media type is removed": (
        rename(operation(*CREATE, "requestBody", "content"), "application/json", "text/json"),
        "POST /things: the body is no longer application/json.",
    ),
    "a success status is removed": (
        rename(operation(*CREATE, "responses"), "201", "200"),
        "POST /things no longer answers 201.",
    ),
    "a success status is added to a default response": (
        lambda d: operation(*CREATE, "responses")(d).update({"202": {}}),
        "POST /things answers 202 too.",
    ),
    "a success status becomes a range": (
        rename(operation(*CREATE, "responses"), "201", "2XX"),
        "POST /things answers 2XX too.",
    ),
    "a status of a range has another body": (
        lambda d: operation("/things/{id}", "get", "responses")(d).update(
            {"200": {"content": {"application/json": {"schema": TEXT}}}}
        ),
        "GET /things/{id}: the answer 200 is wider than before",
    ),
    "a response member is removed": (
        lambda d: (schema("Thing", "properties")(d).pop("name"), schema("Thing", "required")(d).remove("name")),
        "GET /things: the answer 200",
    ),
    "a response member becomes optional": (
        drop(schema("Thing", "required"), "name"),
        "POST /things: the answer 201 is wider than before: required",
    ),
    "a response member may be null": (
        lambda d: schema("Thing", "properties", "name")(d).update(nullable=True),
        "POST /things: the answer 201 at /name",
    ),
    "a response limit widens": (
        put(schema("Thing", "properties"), name=TEXT),
        "POST /things: the answer 201 at /name is wider than before",
    ),
    "a response member that is called components changes": (
        put(schema("Problem", "properties"), components={"type": "integer"}),
        "GET /things: the answer 400 at /components is wider than before",
    ),
    "a problem may be of a new type": (
        append(schema("Problem", "properties", "type", "enum"), "urn:problem:new"),
        "POST /things: the answer 413 at /type is wider than before",
    ),
    "a response media type is added": (
        lambda d: operation(*CREATE, *CREATED, "content")(d).update({"text/csv": {"schema": TEXT}}),
        "POST /things: the answer 201 may be text/csv.",
    ),
    "a response header is removed": (
        drop(operation(*CREATE, *CREATED, "headers"), "Location"),
        "POST /things: the answer 201 lost its header Location.",
    ),
    "a response header becomes optional": (
        lambda d: at(d, "components", "headers", "Location").update(required=False),
        "POST /things: the header Location of the answer 201 is now optional.",
    ),
    "a link is removed": (
        lambda d: operation(*CREATE, *CREATED, "links")(d).popitem(),
        "POST /things: the answer 201 lost its link get_thing.",
    ),
    "a link leads elsewhere": (
        put(operation(*CREATE, *CREATED, "links", "get_thing"), operationId="list_things"),
        "POST /things: the link get_thing of the answer 201 leads elsewhere.",
    ),
    "an operation asks who is calling": (
        put(operation("/things", "get"), security=[TOKEN]),
        'GET /things asks for [{"token": []}] of its callers, before for [].',
    ),
    "every operation asks who is calling": (
        lambda d: d.update(security=[TOKEN]),
        'GET /things/{id} asks for [{"token": []}] of its callers',
    ),
    "a security scheme changes": (
        lambda d: at(d, "components", "securitySchemes", "key").update(name="X-Other"),
        "The security scheme key has changed.",
    ),
    "the server moves": (
        lambda d: d["servers"][0].update(url="http://127.0.0.1:8000/v2"),
        "The server http://127.0.0.1:8000/v1 is gone.",
    ),
}

HARMLESS = {
    "a limit of a request widens": (
        put(schema("NewThing", "properties"), name={"type": "string", "maxLength": 100}),
        "POST /things: the body at /name takes more than before: maxLength 80 -> 100.",
    ),
    "a request member becomes optional": (
        drop(schema("NewThing", "required"), "name"),
        "POST /things: the body takes more than before",
    ),
    "an optional parameter is added": (
        append(operation("/things", "get", "parameters"), EXTRA),
        "GET /things takes the new optional query parameter extra.",
    ),
    "a parameter widens": (
        lambda d: at(d, *LIMIT, "schema").update(maximum=200),
        "GET /things: query parameter limit takes more than before: maximum 100 -> 200.",
    ),
    "an operation is added": (
        lambda d: d["paths"].update({"/tags": {"get": {"operationId": "list_tags", "responses": {}}}}),
        "GET /tags is new.",
    ),
    "an operation with a problem of its own is added": (
        lambda d: (
            schema()(d).update(TagProblem=with_types("about:blank", "urn:problem:tag-taken")),
            d["paths"].update({"/tags": {"post": {"operationId": "create_tag", "responses": {"400": TAG_PROBLEM}}}}),
        ),
        "POST /tags is new.",
    ),
    "an operation's problems are listed one by one": (
        lambda d: (
            schema()(d).update(ListProblem=with_types("about:blank", "urn:problem:invalid-request")),
            operation("/things", "get", "responses")(d).update(
                {"400": {"content": {"application/problem+json": {"schema": ref("ListProblem")}}}}
            ),
        ),
        "GET /things: the answer 400 at /type is narrower than before",
    ),
    "the types of a problem are narrowed next to a reference to its schema": (
        lambda d: operation("/things", "get", "responses")(d).update(
            {"400": {"content": {"application/problem+json": {"schema": NARROWED}}}}
        ),
        "GET /things: the answer 400 is narrower than before",
    ),
    "an error status is added": (
        lambda d: operation("/things/{id}", "get", "responses")(d).update({"429": {"description": "Slower."}}),
        "GET /things/{id} answers 429 too.",
    ),
    "an error status is removed": (
        drop(operation(*CREATE, "responses"), "413"),
        "POST /things no longer answers 413.",
    ),
    "a range of statuses narrows": (
        rename(operation("/things/{id}", "get", "responses"), "2XX", "200"),
        "GET /things/{id} no longer answers 2XX.",
    ),
    "a response limit narrows": (
        put(schema("Thing", "properties"), name={"type": "string", "maxLength": 40}),
        "POST /things: the answer 201 at /name is narrower than before",
    ),
    "a response header is added": (
        lambda d: operation(*CREATE, *CREATED, "headers")(d).update(ETag={"schema": TEXT}),
        "POST /things: the answer 201 has the new header ETag.",
    ),
    "a link is added": (
        lambda d: operation("/things", "get", "responses", "200")(d).update(
            links={"self": {"operationId": "list_things"}}
        ),
        "GET /things: the answer 200 has the new link self.",
    ),
    "an operation may be called without asking": (
        put(operation("/things", "get"), security=[{}, TOKEN]),
        'GET /things asks for [{}, {"token": []}] of its callers',
    ),
}

# A change of a schema, made in the body of a request and in a response: which of the two it breaks.
NAME = {"type": "object", "properties": {"name": TEXT}}
CLOSED = {**NAME, "additionalProperties": False}
SCHEMAS = {
    "a value is removed": ({"enum": ["a", "b"]}, {"enum": ["a"]}, ["request"]),
    "a value is added": ({"enum": ["a"]}, {"enum": ["a", "b"]}, ["response"]),
    "the maximum is raised": ({"type": "integer", "maximum": 5}, {"type": "integer", "maximum": 6}, ["response"]),
    "the maximum is lowered": ({"type": "integer", "maximum": 5}, {"type": "integer", "maximum": 4}, ["request"]),
    "the bound is left out": (
        {"type": "integer", "minimum": 1},
        {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
        ["request"],
    ),
    "the minimum length is raised": (TEXT, {**TEXT, "minLength": 1}, ["request"]),
    "a pattern is added": (TEXT, {**TEXT, "pattern": "^a"}, ["request"]),
    "a pattern is dropped": ({**TEXT, "pattern": "^a"}, TEXT, ["response"]),
    "a pattern changes": ({**TEXT, "pattern": "^a"}, {**TEXT, "pattern": "^b"}, ["request", "response"]),
    "a format is added": (TEXT, {**TEXT, "format": "email"}, ["request"]),
    "a format is dropped": ({**TEXT, "format": "email"}, TEXT, ["response"]),
    "null is allowed": (TEXT, {**TEXT, "nullable": True}, ["response"]),
    "null is no longer allowed": ({**TEXT, "nullable": True}, TEXT, ["request"]),
    "an integer becomes a number": ({"type": "integer"}, {"type": "number"}, ["response"]),
    "a number becomes an integer": ({"type": "number"}, {"type": "integer"}, ["request"]),
    "the type changes": (TEXT, {"type": "integer"}, ["request", "response"]),
    "a member becomes required": (NAME, {**NAME, "required": ["name"]}, ["request"]),
    "a member becomes optional": ({**NAME, "required": ["name"]}, NAME, ["response"]),
    "other members are refused": (NAME, CLOSED, ["request"]),
    "other members are allowed": (CLOSED, NAME, ["response"]),
    "a member is added": (CLOSED, {**CLOSED, "properties": {"name": TEXT, "size": TEXT}}, ["response"]),
    "a member is removed": ({**CLOSED, "properties": {"name": TEXT, "size": TEXT}}, CLOSED, ["request"]),
    "fewer items are allowed": (
        {"type": "array", "items": TEXT, "maxItems": 9},
        {"type": "array", "items": TEXT, "maxItems": 8},
        ["request"],
    ),
    "items narrow": ({"type": "array", "items": TEXT}, {"type": "array", "items": {"enum": ["a"]}}, ["request"]),
    "all is allowed": (TEXT, {}, ["response"]),
}

SILENT = {
    "prose changes": lambda d: operation("/things", "get")(d).update(summary="Other words", description="These too"),
    "an example changes": lambda d: schema("Thing")(d).update(example={"id": 2, "name": "b"}),
    "a schema is renamed": lambda d: (
        schema()(d).update(Good=schema("Thing")(d)),
        operation(*CREATE, *CREATED, "content", "application/json")(d).update(schema=ref("Good")),
    ),
    "a schema is written in place": lambda d: operation(*CREATE, *CREATED, "content", "application/json")(d).update(
        schema=schema("Thing")(d)
    ),
    "a limit is written in another way": put(
        schema("Thing", "properties"), name={"type": "string", "minLength": 0, "maxLength": 80}
    ),
    "a path item moves into a reference": lambda d: (
        d.update({"x-items": {"things": d["paths"]["/things"]}}),
        d["paths"].update({"/things": {"$ref": "#/x-items/things"}}),
    ),
    "extensions among paths and statuses": lambda d: (
        d["paths"].update({"x-more": {"get": {}}}),
        operation(*CREATE, "responses")(d).update({"x-more": [1]}),
    ),
    "a status is a number": lambda d: operation("/things", "get", "responses")(d).update(
        {200: operation("/things", "get", "responses")(d).pop("200")}
    ),
}


def changed(edit):
    document = copy.deepcopy(CONTRACT)
    edit(document)
    return document


@pytest.mark.parametrize(("edit", "sentence"), BREAKING.values(), ids=BREAKING.keys())
def test_a_breaking_change_is_called_breaking(edit, sentence):
    changes = compat.compare(CONTRACT, changed(edit))

    assert any(change.breaking and sentence in change.sentence for change in changes), changes


@pytest.mark.parametrize(("edit", "sentence"), HARMLESS.values(), ids=HARMLESS.keys())
def test_a_harmless_change_is_reported_as_harmless(edit, sentence):
    changes = compat.compare(CONTRACT, changed(edit))

    assert any(sentence in change.sentence for change in changes), changes
    assert not any(change.breaking for change in changes), changes


def echo(*, request=None, response=None):
    body, answer = ({"application/json": {"schema": schema or {}}} for schema in (request, response))
    operation = {"requestBody": {"content": body}, "responses": {"200": {"content": answer}}}
    return {"openapi": "3.0.3", "paths": {"/echo": {"post": operation}}}


@pytest.mark.parametrize("direction", ["request", "response"])
@pytest.mark.parametrize(("was", "now", "breaks"), SCHEMAS.values(), ids=SCHEMAS.keys())
def test_a_schema_change_breaks_requests_or_responses_by_its_direction(direction, was, now, breaks):
    (change,) = compat.compare(echo(**{direction: was}), echo(**{direction: now}))

    assert change.breaking == (direction in breaks), change


def test_an_optional_body_that_becomes_required_breaks():
    before, after = echo(), echo()
    after["paths"]["/echo"]["post"]["requestBody"]["required"] = True

    assert compat.compare(before, after) == [(True, "POST /echo: the body is now required.")]
    assert compat.compare(after, before) == [(False, "POST /echo: the body is now optional.")]


@pytest.mark.parametrize("edit", SILENT.values(), ids=SILENT.keys())
def test_a_change_of_text_without_effect_is_not_reported(edit):
    assert compat.compare(CONTRACT, changed(edit)) == []


@pytest.mark.parametrize(
    ("edit", "version", "status", "said"),
    [
        (lambda _: None, "1.0.0", 0, "Since 1.0.0: 0 changes."),
        (HARMLESS["a parameter widens"][0], "1.1.0", 0, "harmless: GET /things: query parameter limit takes more"),
        (
            BREAKING["a parameter narrows"][0],
            "1.1.0",
            1,
            "Breaking changes need version 2.0.0; the contract says 1.1.0.",
        ),
        (BREAKING["a parameter narrows"][0], "2.0.0", 0, "BREAKING: GET /things: query parameter limit takes less"),
    ],
)
def test_a_breaking_change_fails_until_the_major_version_is_raised(edit, version, status, said, tmp_path, capsys):
    for name, number, document in (("1.0.0", "1.0.0", changed(lambda _: None)), ("new", version, changed(edit))):
        document["info"]["version"] = number
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document))

    assert compat.main([str(tmp_path / "1.0.0.yaml"), str(tmp_path / "new.yaml")]) == status
    assert said in capsys.readouterr().out


def test_the_last_release_is_the_highest_version(tmp_path):
    for name in ("1.2.0", "1.10.0", "1.9.9"):
        (tmp_path / f"{name}.yaml").touch()

    assert compat.last_release(tmp_path).stem == "1.10.0"


TREE = {"type": "object", "properties": {"parts": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}}}


def test_equal_recursive_schemas_are_compared():
    before = echo(request={"type": "array", "items": {"$ref": "#/components/schemas/Tree"}, "maxItems": 5})
    before["components"] = {"schemas": {"Tree": TREE}}
    after = copy.deepcopy(before)
    after["paths"]["/echo"]["post"]["requestBody"]["content"]["application/json"]["schema"]["maxItems"] = 6

    assert compat.compare(before, after) == [(False, "POST /echo: the body takes more than before: maxItems 5 -> 6.")]


def test_an_invalid_schema_is_reported_in_one_line():
    (change,) = compat.compare(echo(request={"type": "integer"}), echo(request={"exclusiveMinimum": True}))

    assert change.breaking
    assert change.sentence.endswith('to be compatible: it cannot be read, "minimum" is a required property.')


def test_a_status_that_became_a_range_is_reported_once():
    edit = rename(operation(*CREATE, "responses"), "201", "2XX")

    assert compat.compare(CONTRACT, changed(edit)) == [(True, "POST /things answers 2XX too.")]


ELSEWHERE = {
    "a path": (lambda d: d["paths"], "/things", "GET /things is gone."),
    "a parameter": (operation("/things", "get", "parameters"), 0, "no longer takes query"),
    "a body": (operation(*CREATE), "requestBody", "POST /things: the body is now described elsewhere"),
    "a response": (operation(*CREATE, "responses"), "201", "the answer 201 is now described elsewhere"),
    "a header": (
        operation(*CREATE, *CREATED, "headers"),
        "Location",
        "the header Location of the answer 201 is now described elsewhere",
    ),
    "a link": (operation(*CREATE, *CREATED, "links"), "get_thing", "the link get_thing of the answer 201 leads else"),
}


@pytest.mark.parametrize(("where", "key", "sentence"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_references_into_other_files_are_compared_by_their_text(where, key, sentence):
    def moved(file):
        def edit(document):
            where(document)[key] = {"$ref": f"{file}.yaml#/Part"}

        return changed(edit)

    away = compat.compare(CONTRACT, moved("one"))

    assert any(change.breaking and sentence in change.sentence for change in away), away
    assert compat.compare(moved("one"), moved("one")) == []
    assert any(change.breaking for change in compat.compare(moved("one"), moved("two")))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("openapi: 3.1.0\n", "openapi: 3.0.3\npaths: {}\n", "1.0.0.yaml is OpenAPI 3.1.0: only OpenAPI 3.0 is read."),
        ("openapi: 3.0.3\npaths: {}\n", "swagger: '2.0'\n", "new.yaml is Swagger 2.0: only OpenAPI 3.0 is read."),
        ("openapi: 3.0.3\npaths: {}\n", "a: [", "new.yaml cannot be read: "),
        (None, "openapi: 3.0.3\npaths: {}\n", "has no contract that is named for its version, such as 1.0.0.yaml."),
    ],
)
def test_a_sentence_when_contracts_cannot_be_compared(old, new, said, tmp_path, capsys):
    (tmp_path / "releases").mkdir()
    if old is not None:
        (tmp_path / "releases" / "1.0.0.yaml").write_text(old)
    (tmp_path / "new.yaml").write_text(new)

    assert compat.main([str(tmp_path / "releases"), str(tmp_path / "new.yaml")]) == 2
    assert said in capsys.readouterr().err


def test_a_document_of_another_version_is_refused():
    with pytest.raises(ContractError, match=r"^The new contract is OpenAPI 3\.1\.0: only OpenAPI 3\.0 is read\.$"):
        compat.compare(CONTRACT, {**CONTRACT, "openapi": "3.1.0"})


def test_a_reference_to_nothing_is_reported():
    with pytest.raises(ContractError, match=r"The reference #/components/schemas/None points to nothing\."):
        compat.compare(CONTRACT, changed(put(schema("NewThing", "properties"), colour=ref("None"))))
