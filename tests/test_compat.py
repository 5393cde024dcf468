"""The compatibility gate judges each of these changes of the contract rightly (`contractapp.compat`)."""

import copy
from pathlib import Path

import pytest
import yaml

from contractapp import compat

ROOT = Path(__file__).parent.parent
CONTRACT = yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text())


def at(document, *path):
    for key in path:
        document = document[key]
    return document


def schema(name, *path):
    return lambda document: at(document, "components", "schemas", name, *path)


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


TEXT = {"type": "string"}
EXTRA = {"name": "extra", "in": "query", "schema": TEXT}
LIMIT = ("components", "parameters", "limit")
CREATED = ("responses", "201")

BREAKING = {
    "an operation is removed": (
        drop(operation("/users", "post"), "operationId"),
        "POST /users has another operationId",
    ),
    "a method is removed": (drop(lambda d: at(d, "paths", "/users"), "post"), "POST /users is gone."),
    "a path is renamed": (rename(lambda d: d["paths"], "/users", "/people"), "GET /users is gone."),
    "an operationId changes": (
        put(operation("/users", "get"), operationId="users"),
        "GET /users has another operationId",
    ),
    "a limit of a request narrows": (
        put(schema("NewUser", "properties"), username={**schema("Username")(CONTRACT), "maxLength": 40}),
        "POST /users: the body at /username takes less than before: maxLength 80 -> 40.",
    ),
    "a request member becomes required": (
        append(lambda d: schema("UserChanges")(d).setdefault("required", []), "email"),
        "PUT /users/{user_id}: the body has changed in a way that cannot be shown to be compatible: required none",
    ),
    "a request member is removed": (drop(schema("PostChanges", "properties"), "title"), "the body"),
    "a request member changes its type": (
        put(schema("NewPost", "properties"), title={"type": "integer"}),
        "POST /posts: the body at /title takes less than before",
    ),
    "a request pattern changes": (
        put(schema("NewPost", "properties"), content={"type": "string", "pattern": "^[a-z]*$"}),
        "POST /posts: the body at /content",
    ),
    "a parameter narrows": (
        lambda d: at(d, *LIMIT, "schema").update(maximum=50),
        "GET /users: query parameter limit takes less than before: maximum 100 -> 50.",
    ),
    "a default changes": (
        lambda d: at(d, *LIMIT, "schema").update(default=20),
        "GET /users: the default of query parameter limit was 100 and is 20.",
    ),
    "a parameter becomes required": (
        lambda d: at(d, *LIMIT).update(required=True),
        "GET /users: query parameter limit is now required.",
    ),
    "a parameter is removed": (
        lambda d: operation("/posts", "get", "parameters")(d).pop(0),
        "GET /posts no longer takes query parameter",
    ),
    "a required parameter is added": (
        append(operation("/posts", "get", "parameters"), {**EXTRA, "required": True}),
        "GET /posts takes the new required query parameter extra.",
    ),
    "a body media type is removed": (
        rename(operation("/users", "post", "requestBody", "content"), "application/json", "text/json"),
        "POST /users: the body is no longer application/json.",
    ),
    "a success status is removed": (
        rename(operation("/users", "post", "responses"), "201", "200"),
        "POST /users no longer answers 201.",
    ),
    "a response member is removed": (
        lambda d: (schema("User", "properties")(d).pop("email"), schema("User", "required")(d).remove("email")),
        "GET /users/{user_id}: the answer 200",
    ),
    "a response member is no longer sure to be there": (
        drop(schema("User", "required"), "email"),
        "GET /users/{user_id}: the answer 200 may be what it was not before: required",
    ),
    "a response member may be null": (
        lambda d: schema("User", "properties")(d).update(username={"type": "string", "nullable": True}),
        "GET /users/{user_id}: the answer 200 at /username",
    ),
    "a response limit widens": (
        put(schema("Message", "properties"), message={}),
        "DELETE /users/{user_id}: the answer 200 at /message may be what it was not before",
    ),
    "a response may be of another kind": (
        append(schema("BadRequestProblem", "properties", "type", "enum"), "urn:problem:new"),
        "GET /users: the answer 400 at /type may be what it was not before",
    ),
    "a response media type is added": (
        lambda d: operation("/users", "post", *CREATED, "content")(d).update({"text/csv": {"schema": TEXT}}),
        "POST /users: the answer 201 may be text/csv.",
    ),
    "a response header is removed": (
        drop(operation("/users", "post", *CREATED, "headers"), "Location"),
        "POST /users: the answer 201 lost its header Location.",
    ),
    "a response header is no longer sure to be there": (
        lambda d: at(d, "components", "headers", "UserLocation").update(required=False),
        "POST /users: the header Location of the answer 201 is now optional.",
    ),
    "a link is removed": (
        lambda d: operation("/users", "post", *CREATED, "links")(d).popitem(),
        "POST /users: the answer 201 lost its link",
    ),
    "a link leads elsewhere": (
        put(operation("/users", "post", *CREATED, "links", "get_user"), operationId="delete_user"),
        "POST /users: the link get_user of the answer 201 leads elsewhere.",
    ),
    "a parameter moves": (
        lambda d: at(d, *LIMIT).update({"in": "header"}),
        "GET /users no longer takes query parameter limit.",
    ),
    "a parameter loses its default": (
        lambda d: at(d, *LIMIT, "schema").pop("default"),
        "GET /users: the default of query parameter limit was 100 and is None.",
    ),
    "an operation asks who is calling": (
        put(operation("/users", "get"), security=[{"token": []}]),
        'GET /users asks for [{"token": []}] of its callers, before for [].',
    ),
    "every operation asks who is calling": (
        lambda d: d.update(security=[{"token": []}]),
        'DELETE /posts/{post_id} asks for [{"token": []}] of its callers',
    ),
    "the server moves": (
        lambda d: d["servers"][0].update(url="http://127.0.0.1:8000/v2"),
        "The server http://127.0.0.1:8000/api is gone.",
    ),
}

HARMLESS = {
    "a limit of a request widens": (
        put(schema("NewUser", "properties"), username={**schema("Username")(CONTRACT), "maxLength": 100}),
        "POST /users: the body at /username takes more than before: maxLength 80 -> 100.",
    ),
    "a request member becomes optional": (
        drop(schema("NewUser", "required"), "email"),
        "POST /users: the body takes more than before",
    ),
    "an optional parameter is added": (
        append(operation("/posts", "get", "parameters"), EXTRA),
        "GET /posts takes the new optional query parameter extra.",
    ),
    "a parameter widens": (
        lambda d: at(d, *LIMIT, "schema").update(maximum=200),
        "GET /users: query parameter limit takes more than before: maximum 100 -> 200.",
    ),
    "an operation is added": (
        lambda d: d["paths"].update({"/tags": {"get": {"operationId": "list_tags", "responses": {}}}}),
        "GET /tags is new.",
    ),
    "an error status is added": (
        lambda d: operation("/users", "get", "responses")(d).update({"429": {"description": "Slower."}}),
        "GET /users answers 429 too.",
    ),
    "an error status is removed": (
        drop(operation("/users", "post", "responses"), "413"),
        "POST /users no longer answers 413.",
    ),
    "a response limit narrows": (
        put(schema("Message", "properties"), message={"type": "string", "maxLength": 200}),
        "DELETE /users/{user_id}: the answer 200 at /message is narrower than before",
    ),
    "a response header is added": (
        lambda d: operation("/users", "post", *CREATED, "headers")(d).update(ETag={"schema": TEXT}),
        "POST /users: the answer 201 has the new header ETag.",
    ),
    "a link is added": (
        lambda d: operation("/users", "get", "responses", "200")(d).update(
            links={"self": {"operationId": "list_users"}}
        ),
        "GET /users: the answer 200 has the new link self.",
    ),
}

# One schema, in the body of a request and in the answer: what the change breaks there.
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
    "prose changes": lambda d: operation("/users", "get")(d).update(summary="Other words", description="Of these too"),
    "an example changes": lambda d: schema("User")(d).update(example={"id": 2, "username": "b", "email": "b@c.de"}),
    "a schema is renamed": lambda d: (
        at(d, "components", "schemas").update(Greeting=schema("Message")(d)),
        operation("/users/{user_id}", "delete", "responses", "200", "content", "application/json")(d).update(
            schema={"$ref": "#/components/schemas/Greeting"}
        ),
    ),
    "a limit is written in another way": put(
        schema("Message", "properties"), message={"type": "string", "minLength": 0}
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
def test_a_harmless_change_is_named_and_let_pass(edit, sentence):
    changes = compat.compare(CONTRACT, changed(edit))

    assert any(sentence in change.sentence for change in changes), changes
    assert not any(change.breaking for change in changes), changes


def echo(*, request=None, response=None):
    body, answer = ({"application/json": {"schema": schema or {}}} for schema in (request, response))
    operation = {"requestBody": {"content": body}, "responses": {"200": {"content": answer}}}
    return {"paths": {"/echo": {"post": operation}}}


@pytest.mark.parametrize("direction", ["request", "response"])
@pytest.mark.parametrize(("was", "now", "breaks"), SCHEMAS.values(), ids=SCHEMAS.keys())
def test_a_schema_is_judged_by_the_side_that_must_cope(direction, was, now, breaks):
    (change,) = compat.compare(echo(**{direction: was}), echo(**{direction: now}))

    assert change.breaking == (direction in breaks), change


def test_an_optional_body_that_becomes_required_breaks():
    before, after = echo(), echo()
    after["paths"]["/echo"]["post"]["requestBody"]["required"] = True

    assert compat.compare(before, after) == [(True, "POST /echo: the body is now required.")]
    assert compat.compare(after, before) == [(False, "POST /echo: the body is now optional.")]


@pytest.mark.parametrize("edit", SILENT.values(), ids=SILENT.keys())
def test_a_change_that_changes_nothing_is_not_named(edit):
    assert compat.compare(CONTRACT, changed(edit)) == []


def test_the_contract_keeps_its_last_release_or_raises_its_major_version():
    released = yaml.safe_load(compat.last_release(Path("openapi/releases")).read_text())

    breaking = [change for change in compat.compare(released, CONTRACT) if change.breaking]

    assert not breaking or compat.major(CONTRACT) > compat.major(released)


@pytest.mark.parametrize(
    ("edit", "version", "status", "said"),
    [
        (lambda _: None, "1.0.0", 0, "Since 1.0.0: 0 changes."),
        (HARMLESS["a parameter widens"][0], "1.1.0", 0, "harmless: GET /users: query parameter limit takes more"),
        (
            BREAKING["a parameter narrows"][0],
            "1.1.0",
            1,
            "Breaking changes need version 2.0.0; the contract says 1.1.0.",
        ),
        (BREAKING["a parameter narrows"][0], "2.0.0", 0, "BREAKING: GET /users: query parameter limit takes less"),
    ],
)
def test_the_gate_closes_on_a_breaking_change_until_the_major_version_is_raised(
    edit, version, status, said, tmp_path, capsys
):
    for name, number, document in (("1.0.0", "1.0.0", changed(lambda _: None)), ("new", version, changed(edit))):
        document["info"]["version"] = number
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document))

    assert compat.main([str(tmp_path / "1.0.0.yaml"), str(tmp_path / "new.yaml")]) == status
    assert said in capsys.readouterr().out


def test_the_last_release_is_the_highest_version(tmp_path):
    for name in ("1.2.0", "1.10.0", "1.9.9"):
        (tmp_path / f"{name}.yaml").touch()

    assert compat.last_release(tmp_path).stem == "1.10.0"
