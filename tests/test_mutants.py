"""The changes of `tools/mutations.py`: every kind occurs, and each mutant has exactly one change."""

import copy
from pathlib import Path

import pytest
import yaml

from tools.mutations import mutants, operations_at

ROOT = Path(__file__).parent.parent
CONTRACT = yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text())

THING = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "minLength": 1, "format": "email", "pattern": "^a", "not": {"pattern": "b"}},
        "size": {"type": "integer", "default": 5, "enum": [5]},
    },
}
DOCUMENT = {
    "servers": [{"url": "/api"}],
    "security": [],
    "paths": {
        "/things": {
            "post": {
                "operationId": "create_thing",
                "tags": ["things"],
                "parameters": [{"name": "limit", "in": "query", "schema": {"type": "integer"}}],
                "requestBody": {"content": {"a/b": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "responses": {
                    "201": {
                        "content": {"a/b": {"schema": {"type": "array", "items": {"type": "string"}}}},
                        "headers": {"Age": {"schema": {"type": "string"}}},
                        "links": {"self": {"operationId": "get_thing", "parameters": {"id": "$response.body#/id"}}},
                    }
                },
            }
        }
    },
    "components": {"schemas": {"Thing": THING}},
}
POST = "paths//things/post"
CREATED = f"{POST}/responses/201"
SCHEMA = "components/schemas/Thing"
MADE = {
    "servers/0": ["another url"],
    "": ["security asked for"],
    "paths": ["/things renamed"],
    "paths//things": ["post dropped"],
    POST: ["operationId renamed", "another tag", "security asked for", "body dropped"],
    f"{POST}/parameters": ["0 dropped"],
    f"{POST}/parameters/0": ["renamed", "moved", "required turned"],
    f"{POST}/parameters/0/schema": ["type string", "nullable"],
    f"{POST}/requestBody": ["optional"],
    f"{POST}/requestBody/content": ["a/b renamed", "a/b dropped"],
    f"{POST}/responses": ["201 dropped", "201 renamed"],
    f"{CREATED}/content": ["a/b renamed", "a/b dropped"],
    f"{CREATED}/content/a/b/schema": ["type object", "nullable"],
    f"{CREATED}/content/a/b/schema/items": ["type integer", "nullable"],
    f"{CREATED}/headers": ["Age dropped"],
    f"{CREATED}/headers/Age": ["required turned"],
    f"{CREATED}/headers/Age/schema": ["type integer", "nullable"],
    f"{CREATED}/links": ["self dropped"],
    f"{CREATED}/links/self": ["leads elsewhere"],
    f"{CREATED}/links/self/parameters": ["id dropped", "id from elsewhere"],
    SCHEMA: ["type array", "nullable", "additionalProperties dropped", "size required"],
    f"{SCHEMA}/required": ["name optional"],
    f"{SCHEMA}/properties": ["name dropped", "size dropped"],
    f"{SCHEMA}/properties/name": [
        "type integer",
        "nullable",
        "minLength lowered",
        "minLength raised",
        "minLength dropped",
        "pattern dropped",
        "format dropped",
        "not dropped",
        "another pattern",
        "another format",
    ],
    f"{SCHEMA}/properties/size": [
        "type string",
        "nullable",
        "default dropped",
        "enum dropped",
        "another default",
        "5 no longer allowed",
        "a value added",
    ],
}


def differences(one, other):
    """The number of places in which two documents differ; a renamed key counts as one."""
    if isinstance(one, dict) and isinstance(other, dict):
        if len(one) == len(other) and one.keys() != other.keys():
            renamed = [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]
            return len(renamed) + (list(one.values()) != list(other.values()))
        changed = [differences(one[key], other[key]) for key in one.keys() & other.keys()]
        return sum(changed) + len(one.keys() ^ other.keys())
    if isinstance(one, list) and isinstance(other, list) and len(one) != len(other):
        longer, shorter = sorted((one, other), key=len, reverse=True)
        rest = [value for value in longer if value not in shorter]
        return len(rest) + ([value for value in longer if value in shorter] != shorter)
    if isinstance(one, list) and isinstance(other, list):
        return sum(differences(*pair) for pair in zip(one, other, strict=True))
    return int(one != other)


def test_every_kind_of_change_is_made():
    made = {}
    for mutant in mutants(DOCUMENT):
        place, _, what = mutant.name.rpartition(": ")
        made.setdefault(place, []).append(what)

    assert {place: sorted(whats) for place, whats in made.items()} == {
        place: sorted(whats) for place, whats in MADE.items()
    }


@pytest.mark.parametrize("document", [DOCUMENT, CONTRACT], ids=["small", "the contract"])
def test_each_is_exactly_one_change_and_leaves_the_original_alone(document):
    original = copy.deepcopy(document)
    found = list(mutants(document))

    assert {mutant.name: differences(document, mutant.applied(document)) for mutant in found} == {
        mutant.name: 1 for mutant in found
    }
    assert document == original


def test_names_are_unique_and_in_the_same_order_each_time():
    names = [mutant.name for mutant in mutants(CONTRACT)]

    assert len(set(names)) == len(names) > 600
    assert names == [mutant.name for mutant in mutants(copy.deepcopy(CONTRACT))]


@pytest.mark.parametrize(
    ("schema", "other"),
    [
        ({"type": "integer", "format": "int32"}, "int64"),
        ({"type": "number", "format": "double"}, "float"),
        ({"type": "string", "format": "date-time"}, "date"),
        ({"type": "string", "format": "date"}, "email"),
        ({"type": "string", "format": "a-format-of-tomorrow"}, "date"),
    ],
)
def test_every_format_can_be_changed(schema, other):
    assert changed(schema, "another format")["format"] == other


@pytest.mark.parametrize(
    ("schema", "default"),
    [
        ({"type": "integer", "default": 5}, 4),
        ({"type": "number", "default": 0.5}, -0.5),
        ({"type": "boolean", "default": True}, False),
        ({"type": "string", "default": "a"}, "ax"),
        ({"type": "string", "default": "a", "enum": ["a", "b"]}, "b"),
        ({"type": "array", "items": {"type": "string"}, "default": ["a"]}, []),
    ],
)
def test_every_default_can_be_changed(schema, default):
    assert changed(schema, "another default")["default"] == default


def changed(schema, what):
    document = {"paths": {}, "components": {"schemas": {"Thing": schema}}}
    (mutant,) = (mutant for mutant in mutants(document) if mutant.what == what)
    return mutant.applied(document)["components"]["schemas"]["Thing"]


SHARED = {
    "paths": {
        "/things": {
            "get": {"operationId": "list_things", "parameters": [{"$ref": "#/components/parameters/limit"}]},
            "post": {"operationId": "create_thing", "requestBody": {"$ref": "#/components/schemas/NewThing"}},
        },
        "/things/{thing_id}": {
            "parameters": [{"$ref": "#/components/parameters/thing_id"}],
            "get": {"operationId": "get_thing", "responses": {"200": {"$ref": "#/components/schemas/Thing"}}},
            "delete": {"operationId": "delete_thing", "responses": {"200": {"$ref": "#/components/schemas/Message"}}},
        },
        "/parts": {"get": {"operationId": "list_parts", "parameters": [{"$ref": "#/components/parameters/limit"}]}},
        "/parts/{part_id}": {
            "delete": {"operationId": "delete_part", "responses": {"200": {"$ref": "#/components/schemas/Message"}}}
        },
    },
    "components": {
        "parameters": {"limit": {}, "thing_id": {"schema": {"$ref": "#/components/schemas/Id"}}},
        "schemas": {
            "Id": {},
            "Message": {},
            "NewThing": {"required": []},
            "Thing": {"properties": {"id": {"$ref": "#/components/schemas/Id"}}},
        },
    },
}


@pytest.mark.parametrize(
    ("place", "operations"),
    [
        ((), []),
        (("paths", "/things", "get", "responses"), ["list_things"]),
        (("paths", "/things/{thing_id}", "parameters", 0), ["get_thing", "delete_thing"]),
        (("components", "schemas", "NewThing", "required"), ["create_thing"]),
        (("components", "schemas", "Message"), ["delete_thing", "delete_part"]),
        (("components", "schemas", "Id"), ["get_thing", "delete_thing"]),
        (("components", "parameters", "limit"), ["list_things", "list_parts"]),
    ],
)
def test_the_operations_that_a_place_is_part_of(place, operations):
    assert operations_at(SHARED, place) == operations
