"""OpenAPI 3.0 schemas as validators: which values they accept, and which faults they report."""

import pytest

from contractapp.compile.document import ContractError, Unsupported
from contractapp.compile.schema import MAX_POINTER_LENGTH, Validator, pointer_to
from contractapp.problems import MAX_ERRORS, Fault


def validator(schema, schemas=None, direction="request"):
    return Validator(schema, {"components": {"schemas": schemas or {}}}, direction)


def faults(schema, value, schemas=None, direction="request"):
    compiled = validator(schema, schemas, direction)
    found = [(fault.pointer, fault.detail) for fault in compiled.faults(value, "body")]
    assert compiled.is_valid(value) == (not found)
    return found


@pytest.mark.parametrize(
    ("schema", "value", "detail"),
    [
        ({"type": "string"}, 1, "must be a string"),
        ({"type": "integer"}, "1", "must be an integer"),
        ({"type": "integer"}, 5.0, "must be an integer"),
        ({"type": "integer"}, True, "must be an integer"),
        ({"type": "number"}, "1", "must be a number"),
        ({"type": "boolean"}, 0, "must be true or false"),
        ({"type": "array"}, {}, "must be an array"),
        ({"type": "object"}, [], "must be an object"),
        ({"type": "string", "nullable": True}, 1, "must be a string or null"),
        ({"enum": ["a", 2]}, "b", "must be one of: a, 2"),
        ({"type": "string", "minLength": 1}, "", "must have at least 1 character"),
        ({"type": "string", "minLength": 2}, "a", "must have at least 2 characters"),
        ({"type": "string", "maxLength": 2}, "abc", "must have at most 2 characters"),
        ({"type": "string", "pattern": "^a$"}, "a\n", "has characters or a form that the contract does not allow here"),
        ({"minimum": 2}, 1, "must be at least 2"),
        ({"maximum": 2}, 3, "must be at most 2"),
        ({"minimum": 2, "exclusiveMinimum": True}, 2, "must be more than 2"),
        ({"maximum": 2, "exclusiveMaximum": True}, 2, "must be less than 2"),
        ({"multipleOf": 2}, 3, "must be a multiple of 2"),
        ({"minItems": 1}, [], "must have at least 1 item"),
        ({"maxItems": 2}, [1, 2, 3], "must have at most 2 items"),
        ({"uniqueItems": True}, [1, 1], "must not have equal items"),
        ({"minProperties": 1}, {}, "must have at least 1 member"),
        ({"maxProperties": 1}, {"a": 1, "b": 2}, "must have at most 1 member"),
        ({"not": {"type": "string"}}, "a", "is not allowed here"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, None, "matches none of the allowed forms"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, 1, "must match exactly one of the allowed forms"),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, None, "must match exactly one of the allowed forms"),
        ({"type": "string", "format": "date-time"}, "2026-02-30T00:00:00Z", "must be a date and time (RFC 3339)"),
        ({"type": "string", "format": "date"}, "2026-02-30", "must be a date (RFC 3339)"),
        ({"type": "string", "format": "email"}, "@", "must be an e-mail address"),
        ({"type": "string", "format": "uuid"}, "123", "must be a UUID"),
        ({"type": "string", "format": "ipv4"}, "1.2.3", "is not a valid ipv4"),
        ({"type": "integer", "format": "int32"}, 2**31, f"must be at most {2**31 - 1}"),
        ({"type": "integer", "format": "int32"}, -(2**31) - 1, f"must be at least {-(2**31)}"),
        ({"type": "integer", "format": "int64"}, 2**63, f"must be at most {2**63 - 1}"),
        ({"type": "integer", "format": "int64"}, -(2**63) - 1, f"must be at least {-(2**63)}"),
        ({"type": "integer", "format": "int32", "maximum": 2**40}, 2**31, f"must be at most {2**31 - 1}"),
        ({"type": "integer", "format": "int32", "minimum": 1}, 0, "must be at least 1"),
    ],
)
def test_a_fault_names_the_rule_and_never_the_value(schema, value, detail):
    assert faults(schema, value) == [("", detail)]


WORD = {"type": "string", "pattern": "^[a-z]+$", "x-pattern-message": "must be one word"}
LINE = {"type": "string", "pattern": "^[a-z ]+$", "x-pattern-message": "must be one line"}


@pytest.mark.parametrize(
    ("schema", "value", "found"),
    [
        (WORD, "A", [("", "must be one word")]),
        ({"$ref": "#/components/schemas/Word"}, "A", [("", "must be one word")]),
        ({"type": "array", "items": WORD}, ["a", "A"], [("/1", "must be one word")]),
        ({"allOf": [{"type": "string"}, WORD]}, "A", [("", "must be one word")]),
        ({"allOf": [{"allOf": [LINE]}, {"$ref": "#/components/schemas/Word"}]}, "a b", [("", "must be one word")]),
        ({"additionalProperties": WORD}, {"a": "A"}, [("/a", "must be one word")]),
        (
            {"properties": {"x": {"$ref": "#/components/schemas/Word"}, "y": LINE}},
            {"x": "A", "y": "A"},
            [("/x", "must be one word"), ("/y", "must be one line")],
        ),
        # Names of members that are also keywords.
        (
            {"properties": {"properties": WORD, "x-pattern-message": {"type": "string"}}},
            {"properties": "A", "x-pattern-message": "A"},
            [("/properties", "must be one word")],
        ),
        ({"properties": {"a/b~c": WORD}}, {"a/b~c": "A"}, [("/a~1b~0c", "must be one word")]),
        # The message is about the pattern and no other rule.
        (WORD, 1, [("", "must be a string")]),
        ({**WORD, "maxLength": 2}, "ABC", [("", "must have at most 2 characters")]),
        ({**WORD, "nullable": True}, "A", [("", "must be one word")]),
    ],
)
def test_the_contract_can_say_the_rule_of_a_pattern_in_words(schema, value, found):
    assert faults(schema, value, {"Word": WORD}) == found


def test_the_same_pattern_has_a_message_for_each_place():
    pattern = WORD["pattern"]
    other = {"type": "string", "pattern": pattern, "x-pattern-message": "must be a name"}

    found = faults({"properties": {"a": WORD, "b": other, "c": {"pattern": pattern}}}, {"a": "A", "b": "A", "c": "A"})

    assert found == [
        ("/a", "must be one word"),
        ("/b", "must be a name"),
        ("/c", "has characters or a form that the contract does not allow here"),
    ]


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ({"pattern": "^a$", "x-pattern-message": 1}, "The x-pattern-message beside the pattern '^a$' is not a text."),
        ({"pattern": "^a$", "x-pattern-message": " "}, "The x-pattern-message beside the pattern '^a$' is not a text."),
        ({"x-pattern-message": "must be a"}, "The x-pattern-message 'must be a' has no pattern beside it."),
    ],
)
def test_a_message_that_cannot_be_used_stops_the_start(schema, sentence):
    with pytest.raises(ContractError) as refused:
        validator({"properties": {"a": {"type": "string", **schema}}})

    assert refused.value.faults == (sentence,)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "format": "date-time"}, "2026-11-24T01:02:03.5+01:00"),
        ({"type": "string", "format": "date-time"}, "2016-12-31T23:59:60Z"),
        ({"type": "string", "format": "uuid"}, "123E4567-e89b-12d3-a456-426614174000"),
        ({"type": "string", "format": "email"}, "zoe+x@example.com"),
        ({"type": "string", "format": "no such format"}, "anything"),
        ({"type": "string", "format": "byte"}, "%%%"),
        ({"type": "integer", "format": "int32"}, 2**31 - 1),
        ({"type": "integer", "format": "int64"}, -(2**63)),
        ({"type": "integer"}, 10**100),
        ({"type": "string", "maxLength": 1}, "\N{GRINNING FACE}"),
        ({"type": "string", "nullable": True}, None),
        ({"type": "string", "nullable": True, "format": "uuid"}, None),
        ({"nullable": True}, None),
        ({"anyOf": [{"type": "string"}, {"type": "integer", "nullable": True}]}, None),
        ({"additionalProperties": True}, {"a": 1}),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1}),
        ({"allOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": 1}),
        ({}, [None, {"anything": 1.5}]),
    ],
)
def test_values_that_match_the_schema_are_valid(schema, value):
    assert faults(schema, value) == []


@pytest.mark.parametrize(
    "value",
    ["24/11/2026", "2026-11-24T01:02:03", "2026-11-24 01:02:03Z ", "2026-11-24T25:00:00Z", "2026-11-24T01:02:03Z\n"],
)
def test_a_date_time_must_follow_rfc_3339(value):
    assert faults({"type": "string", "format": "date-time"}, value) == [("", "must be a date and time (RFC 3339)")]


@pytest.mark.parametrize(
    "value",
    [
        "123e4567e89b12d3a456426614174000",
        "{123e4567-e89b-12d3-a456-426614174000}",
        "urn:uuid:123e4567-e89b-12d3-a456-426614174000",
    ],
)
def test_a_uuid_must_be_written_as_in_rfc_9562(value):
    assert faults({"type": "string", "format": "uuid"}, value) == [("", "must be a UUID")]


def test_null_is_in_an_enumeration_only_where_it_is_listed():
    """In OpenAPI 3.0.3, `nullable` widens only `type`."""
    listed = {"type": "string", "nullable": True, "enum": ["a", None]}
    unlisted = {"type": "string", "nullable": True, "enum": ["a"]}

    assert faults(listed, None) == []
    assert faults(unlisted, None) == [("", "must be one of: a")]


PERSON = {
    "type": "object",
    "required": ["id", "password", "name"],
    "properties": {
        "id": {"type": "integer", "readOnly": True},
        "password": {"$ref": "#/components/schemas/Password"},
        "name": {"type": "string"},
    },
}
PASSWORD = {"Password": {"type": "string", "writeOnly": True}}


def test_a_read_only_member_is_not_sent_and_not_required_in_a_request():
    assert faults(PERSON, {"password": "p", "name": "n"}, PASSWORD) == []
    assert faults(PERSON, {"id": 1, "name": "n"}, PASSWORD) == [
        ("/id", "is not allowed here"),
        ("/password", "is required"),
    ]


def test_a_write_only_member_is_not_sent_and_not_required_in_a_response():
    assert faults(PERSON, {"id": 1, "name": "n"}, PASSWORD, "response") == []
    assert faults(PERSON, {"password": "p", "name": "n"}, PASSWORD, "response") == [
        ("/id", "is required"),
        ("/password", "is not allowed here"),
    ]


TREE = {
    "Tree": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "value": {"type": "integer"},
            "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
        },
    }
}


def test_a_schema_may_refer_to_itself():
    tree = {"$ref": "#/components/schemas/Tree"}

    assert faults(tree, {"children": [{"children": [{"value": 1}]}]}, TREE) == []
    assert faults(tree, {"children": [{"children": [{"value": "1"}]}]}, TREE) == [
        ("/children/0/children/0/value", "must be an integer")
    ]


def test_a_value_that_is_nested_too_deeply_is_a_fault():
    deep = []
    for _ in range(900):
        deep = [deep]

    found = validator({"type": "string"}).faults(deep, "body")

    assert found == [Fault("body", "", "is nested too deeply")]


def test_a_pointer_escapes_what_rfc_6901_escapes():
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"a/b": {"properties": {"m~n": {"type": "integer"}}}},
    }

    assert faults(schema, {"a/b": {"m~n": ""}, "c/d~": 1}) == [
        ("/a~1b/m~0n", "must be an integer"),
        ("/c~1d~0", "is not a known member"),
    ]


def test_an_unknown_name_is_cut_at_64_code_points():
    schema = {"type": "object", "additionalProperties": False}

    assert faults(schema, {"\N{GRINNING FACE}" * 65: 1}) == [
        ("/" + "\N{GRINNING FACE}" * 64 + "…", "is not a known member")
    ]
    assert faults(schema, {"n" * 64: 1}) == [("/" + "n" * 64, "is not a known member")]


def test_a_pointer_has_a_maximum_length():
    assert len(pointer_to(*["segment"] * 1000)) == MAX_POINTER_LENGTH + 1
    assert pointer_to("a", 0, "") == "/a/0/"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "array", "items": {"type": "integer"}}, ["x"] * 1000),
        ({"type": "object", "additionalProperties": False}, {f"m{number:04}": 1 for number in range(1000)}),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            {f"m{number:04}": 1 for number in range(1000)},
        ),
    ],
)
def test_at_most_fifty_faults_are_found(schema, value):
    assert len(faults(schema, value)) == MAX_ERRORS


def test_faults_come_in_the_order_of_their_pointers_whatever_the_order_of_members():
    schema = {
        "type": "object",
        "required": ["m", "b"],
        "additionalProperties": False,
        "properties": {"a": {"type": "integer"}, "z": {"type": "integer"}, "m": {}, "b": {}},
    }
    one = faults(schema, {"z": "", "a": "", "y": 1, "c": 1})
    other = faults(schema, {"c": 1, "y": 1, "a": "", "z": ""})

    assert one == other
    assert [pointer for pointer, _ in one] == ["/a", "/b", "/c", "/m", "/y", "/z"]


def test_only_the_first_broken_rule_of_a_place_is_reported():
    schema = {"type": "string", "format": "email", "pattern": "^.+@.+$", "minLength": 1}

    assert faults(schema, "") == [("", "must have at least 1 character")]
    assert faults(schema, 5) == [("", "must be a string")]


@pytest.mark.parametrize(
    "reference",
    [
        "other.yaml#/User",
        "https://example.com/user.json",
        "#/components/schemas/User/properties/id",
        "#/definitions/User",
    ],
)
def test_a_reference_outside_the_schemas_is_left_to_stock(reference):
    with pytest.raises(Unsupported):
        validator({"type": "array", "items": {"$ref": reference}}, {"User": {"properties": {"id": {}}}})


def test_a_reference_that_leads_to_itself_is_a_fault_of_the_contract():
    loop = {"A": {"$ref": "#/components/schemas/B"}, "B": {"$ref": "#/components/schemas/A"}}

    with pytest.raises(ContractError, match="leads back to itself"):
        validator({"properties": {"a": {"$ref": "#/components/schemas/A"}}}, loop)


def test_an_invalid_pattern_is_refused():
    with pytest.raises(ValueError, match="regex"):
        validator({"type": "string", "pattern": "("})
