"""The contract follows the project's rules, as far as requests cannot test them."""

import re

import jsonschema
import openapi_spec_validator
import pytest

from contractapp import problems
from tests import resources
from tests.resources import CONTRACT, RESOURCES, refusals_of

DOCUMENT = CONTRACT.document
OPERATIONS = {name: operation.definition for name, operation in resources.OPERATIONS.items()}
LOCATIONS = [name for name in DOCUMENT["components"]["headers"] if name.endswith("Location")]

# Optional headers: the last page has no Link, and a 415 may have a reason other than the content coding.
SOMETIMES = {"Link", "Accept-Encoding"}

VALUES = {
    ("headers", "AcceptEncoding", "schema"): ["identity"],
    ("schemas", "Health", "properties", "status"): ["ok"],
    ("schemas", "Problem", "properties", "type"): [problems.Problem.type],
    ("schemas", "BadRequestProblem", "properties", "type"): [problems.InvalidRequest.type],
    ("schemas", "PreconditionFailedProblem", "properties", "type"): [problems.PreconditionFailed.type],
    ("schemas", "IdempotencyKeyReusedProblem", "properties", "type"): [problems.IdempotencyKeyReused.type],
    ("schemas", "FieldError", "properties", "in"): ["path", "query", "header", "body"],
}

# For each pattern: texts that it must refuse, with a text that it must accept.
NEVER = [
    (("headers", "Allow", "schema"), "GET, HEAD", ["", "get", "GET,HEAD", "GET, ", "GET HEAD"]),
    (
        ("headers", "Link", "schema"),
        '</api/users?cursor=a>; rel="next"',
        ["", '<http://a/b>; rel="next"', '</a>; rel="prev"', '</a>; rel="next", </b>; rel="next"', '</a<>; rel="next"'],
    ),
    (("headers", "UserLocation", "schema"), "/api/users/10", ["/api/users", "/api/users/0", "/api/posts/1", "users/1"]),
    (("headers", "PostLocation", "schema"), "/api/posts/10", ["/api/posts", "/api/posts/0", "/api/users/1", "posts/1"]),
    (("headers", "AcceptEncoding", "schema"), "identity", ["gzip", ""]),
    (("headers", "ETag", "schema"), '"3-7"', ["", "3", '""', 'W/"3"', '"3" ', '"a"b"', '"a", "b"', '"a b"', '"\x7f"']),
    (("headers", "RetryAfter", "schema"), 1, [0, -1, "1"]),
    (("schemas", "Id"), 2**53 - 1, [0, 2**53, "1", None]),
    # A different validator: its `$` matches before a final line feed, and it does not check formats.
    (("schemas", "Username"), "a b", ["", "a\n", " a", "a\xa0", "a\tb", "a" * 81]),
    (("schemas", "Title"), "a b", ["", "a\n", " a", "a\xa0", "a\tb", "a" * 101]),
    (("schemas", "Email"), "a@b.de", ["", "a", "@", "a@b.de\n", "ä@b.de", "a\x00@b.de", "a" * 116 + "@b.de"]),
    (("schemas", "FieldError", "properties", "pointer"), "/a/b", ["a", "a/b"]),
    (("schemas", "Problem", "properties", "status"), 404, [399, 600]),
    (("schemas", "Problem", "properties", "status"), 400, []),
    (("schemas", "Problem", "properties", "status"), 599, []),
    (("schemas", "BadRequestProblem", "properties", "status"), 400, [399, 401]),
    (("schemas", "PreconditionFailedProblem", "properties", "status"), 412, [411, 413]),
    (("schemas", "IdempotencyKeyReusedProblem", "properties", "status"), 422, [421, 423]),
    (("parameters", "idempotency_key", "schema"), "a", ["", "a\n", "a b", "\x7f", "é", "a" * 256]),
    (("parameters", "idempotency_key", "schema"), '"a"', ['""', '"', '"a', '"a b"', '"a"b"', '"a\\b"', '"a"\n']),
]


def component(*path):
    node = DOCUMENT["components"]
    for key in path:
        node = node[key]
    return CONTRACT.resolve(node)


def schemas(node, place="#"):
    """Every schema in the document, by its location."""
    if isinstance(node, list):
        for number, member in enumerate(node):
            yield from schemas(member, f"{place}/{number}")
    elif isinstance(node, dict):
        if isinstance(node.get("type"), str) and "/example" not in place:
            yield place, node
        for key, member in node.items():
            yield from schemas(member, f"{place}/{key}")


SCHEMAS = dict(schemas(DOCUMENT))


def test_it_is_valid_openapi():
    openapi_spec_validator.validate(DOCUMENT)


def test_it_says_where_api_serve_listens_by_default():
    assert [server["url"] for server in DOCUMENT["servers"]] == ["http://127.0.0.1:8000/api"]


def test_no_operation_requires_authentication():
    assert DOCUMENT["security"] == []
    assert [name for name, operation in OPERATIONS.items() if "security" in operation] == []


def test_every_operation_has_one_tag_of_the_list():
    known = {tag["name"] for tag in DOCUMENT["tags"]}

    assert {tuple(operation["tags"]) for operation in OPERATIONS.values()} == {(name,) for name in known}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_has_the_statuses_of_its_kind(name):
    operation = OPERATIONS[name]
    statuses = {"201" if name.startswith("create_") else "200", "400", "405", "500"}
    if "{" in resources.OPERATIONS[name].path:
        statuses |= {"404"} | ({"304"} if resources.OPERATIONS[name].method == "GET" else {"412", "428"})
    if "requestBody" in operation:
        statuses |= {"408", "413", "415"}
    if "Idempotency-Key" in resources.OPERATIONS[name].parameters:
        statuses |= {"409", "422"}
    if name != "get_liveness":  # this operation does not use the database
        statuses |= {"503"}

    assert set(operation["responses"]) == statuses


@pytest.mark.parametrize("name", OPERATIONS)
def test_bodies_are_json_and_errors_are_problems(name):
    answers = {status: answer for status, answer in OPERATIONS[name]["responses"].items() if status != "304"}
    media_types = {(status < "400", *answer["content"]) for status, answer in answers.items()}

    assert media_types == {(True, "application/json"), (False, "application/problem+json")}
    assert list(OPERATIONS[name].get("requestBody", {}).get("content", ["application/json"])) == ["application/json"]


def test_nothing_may_be_null():
    assert [place for place, schema in SCHEMAS.items() if "nullable" in schema] == []


def test_every_object_knows_its_members():
    objects = {place: schema for place, schema in SCHEMAS.items() if schema["type"] == "object"}

    assert len(objects) > 8
    assert [place for place, schema in objects.items() if schema.get("additionalProperties") is not False] == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_member_of_an_answer_is_always_there(name):
    answered = dict(schemas([answer.get("content") for answer in OPERATIONS[name]["responses"].values()]))
    objects = [schema for schema in answered.values() if schema["type"] == "object"]

    assert len(objects) >= 4
    assert [schema["required"] for schema in objects] == [list(schema["properties"]) for schema in objects]


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_400_lists_the_types_that_the_operation_can_answer_and_no_others(name):
    content = OPERATIONS[name]["responses"]["400"]["content"]["application/problem+json"]
    answered = {
        problems.InvalidRequest.type,
        *(found.problem.type for found in refusals_of(resources.OPERATIONS[name])),
    }

    assert sorted(types_of_400(name)) == sorted(answered)
    assert {example["value"]["type"] for example in content["examples"].values()} == answered


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_optional_parameter_has_an_example(name):
    """Swagger UI would fill it in, and "Execute" would then send a value that the reader did not choose."""
    optional = [found for found in resources.OPERATIONS[name].parameters.values() if not found.get("required")]

    assert [found["name"] for found in optional if {"example", "examples"} & {*found, *found["schema"]}] == []


def test_the_summary_of_an_example_is_plain_text():
    """Swagger UI shows it in a list of choices, as it is."""
    shown = list(summaries(DOCUMENT))

    assert len(shown) > 20
    assert [summary for summary in shown if "`" in summary] == []


def summaries(node):
    """The summary of every example in the document."""
    if isinstance(node, dict):
        if {"summary", "value"} <= node.keys():
            yield node["summary"]
        for member in node.values():
            yield from summaries(member)
    elif isinstance(node, list):
        for member in node:
            yield from summaries(member)


def types_of_400(name):
    content = OPERATIONS[name]["responses"]["400"]["content"]["application/problem+json"]
    return content["schema"]["properties"]["type"]["enum"]


def test_the_format_of_an_integer_is_the_smallest_that_holds_it():
    """The format determines the type in generated clients."""
    integers = {place: schema for place, schema in SCHEMAS.items() if schema["type"] == "integer"}

    assert {place: schema["format"] for place, schema in integers.items()} == {
        place: "int64" if schema.get("maximum", 0) >= 2**31 else "int32" for place, schema in integers.items()
    }


@pytest.mark.parametrize("place", VALUES)
def test_enumerations_have_the_values_that_the_service_uses(place):
    assert component(*place)["enum"] == VALUES[place]


def test_every_value_that_is_not_an_identifier_has_a_name_for_generated_clients():
    names = {place: schema for place, schema in SCHEMAS.items() if ":" in "".join(schema.get("enum", ()))}

    assert len(names) >= 4
    assert [place for place, s in names.items() if len(s["x-enum-varnames"]) != len(s["enum"])] == []


@pytest.mark.parametrize(("place", "good", "bad"), NEVER)
def test_a_pattern_refuses_texts_that_must_never_occur(place, good, bad):
    validator = jsonschema.Draft4Validator(component(*place))

    assert validator.is_valid(good)
    assert [value for value in bad if validator.is_valid(value)] == []


def test_every_pattern_of_a_request_has_its_rule_in_words():
    inputs = {place: schema for place, schema in SCHEMAS.items() if "pattern" in schema and is_of_a_request(place)}

    assert len(inputs) >= 5
    assert [place for place, schema in inputs.items() if "x-pattern-message" not in schema] == []


def is_of_a_request(place):
    """Whether a client chooses the value: members of responses and headers of responses say what the service sends."""
    return not re.match(r"#/components/(headers|responses|schemas/FieldError)/|#/paths/.*/responses/", place)


@pytest.mark.parametrize("name", ["Username", "Title", "Email", "Content"])
def test_the_description_says_the_rule_of_the_pattern(name):
    schema = component("schemas", name)

    rule = re.sub(r"^must (be|not) ", "", schema["x-pattern-message"])

    assert rule in " ".join(schema["description"].split()).replace(
        "An e-mail address (RFC 5321) of", "an e-mail address of"
    )


def test_a_location_is_declared_as_a_reference():
    formats = {name: component("headers", name, "schema")["format"] for name in LOCATIONS}

    assert formats == dict.fromkeys(LOCATIONS, "uri-reference")
    assert len(LOCATIONS) == len(RESOURCES)


def test_a_header_is_required_unless_there_is_a_reason():
    required = {
        (name, header["required"])
        for operation in OPERATIONS.values()
        for response in operation["responses"].values()
        for name, header in response.get("headers", {}).items()
    }

    assert {name for name, always in required if not always} == SOMETIMES
    assert {name for name, always in required if always} == {"Allow", "ETag", "Location", "Retry-After"}


def test_the_contract_has_the_services_limit_of_faults():
    found = {
        (schema["properties"]["errors"]["minItems"], schema["properties"]["errors"]["maxItems"])
        for schema in SCHEMAS.values()
        if "errors" in schema.get("properties", {})
    }

    assert found == {(1, problems.MAX_ERRORS)}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_on_a_row_has_its_precondition_and_its_answers_have_its_tag(name):
    operation, of_row = OPERATIONS[name], "{" in resources.OPERATIONS[name].path
    found = {p["name"] for p in resources.OPERATIONS[name].parameters.values() if p["in"] == "header"}
    tagged = {status for status, answer in operation["responses"].items() if "ETag" in answer.get("headers", {})}

    found.discard("Idempotency-Key")
    assert found == ({"If-None-Match" if name.startswith("get_") else "If-Match"} if of_row else set())
    assert tagged == {
        *({"200"} if of_row and not name.startswith("delete_") else {"201"} if name.startswith("create_") else set()),
        *({"304", "412"} & operation["responses"].keys()),
    }


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name.startswith("list_")])
def test_a_page_has_at_most_the_maximum_of_limit_which_is_its_default(name):
    limit = component("parameters", "limit", "schema")
    page = OPERATIONS[name]["responses"]["200"]["content"]["application/json"]["schema"]

    assert page["maxItems"] == limit["maximum"] == limit["default"]


def to_its_children(resource):
    """The links from a row to the lists that can be filtered by it, each with its parameters."""
    parameter = f"{resource.name}_id"
    lists = {name: found for name, found in resources.OPERATIONS.items() if name.startswith("list_")}
    return {name: [parameter] for name, found in lists.items() if parameter in found.parameters}


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=lambda resource: resource.name)
def test_a_created_row_links_to_its_operations(resource):
    name, children = resource.name, to_its_children(resource)
    itself = {
        kind: [f"{name}_id"] for kind in (f"get_{name}", f"update_{name}", f"delete_{name}") if kind in OPERATIONS
    }
    # The description of the link says which member of the body refers to the new row.
    new_children = {f"create_{RESOURCES[resources.OPERATIONS[child].table].name}": [] for child in children}
    changes = {kind: [f"{name}_id", "If-Match"] for kind in itself if not kind.startswith("get_")}
    created = OPERATIONS[f"create_{name}"]["responses"]["201"]["links"]
    found = OPERATIONS[f"get_{name}"]["responses"]["200"]["links"]

    assert parameters_of(created) == {**itself, **children, **new_children}
    assert parameters_of(found) == {**children, **changes}
    for link in [*created.values(), *found.values()]:
        for parameter, value in link.get("parameters", {}).items():
            assert value == ("$response.header.ETag" if parameter == "If-Match" else "$response.body#/id")


def test_no_other_operation_has_links():
    linked = {
        name
        for name, operation in OPERATIONS.items()
        for response in operation["responses"].values()
        if response.get("links")
    }

    assert linked <= {f"{kind}_{resource.name}" for resource in RESOURCES.values() for kind in ("create", "get")}


def parameters_of(links):
    """The names of each link's parameters; a link has the name of the operation that it leads to."""
    assert [link["operationId"] for link in links.values()] == list(links)
    return {name: list(link.get("parameters", {})) for name, link in links.items()}
