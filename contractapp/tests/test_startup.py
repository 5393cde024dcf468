"""A contract or handlers with faults stop the start with one error that lists all faults."""

import pytest

from contractapp import ContractApp, ContractError


def start(specification, handlers=None, **options):
    app = ContractApp("api", **options)
    app.add_api(specification, handlers=handlers or {})
    return app


def faults(specification, handlers=None, **options):
    with pytest.raises(ContractError) as raised:
        start(specification, handlers, **options)
    assert str(raised.value) == "\n".join(raised.value.faults)
    return list(raised.value.faults)


def paths(**operations):
    return {f"/{name}": {"get": {"operationId": name, **more}} for name, more in operations.items()}


def test_missing_and_surplus_handlers_are_reported_together(contract):
    document = contract(paths(one={}, two={}, three={}))

    assert faults(document, {"two": lambda: None, "four": lambda: None, "five": lambda: None}) == [
        "GET /one: no handler has the name of the operationId 'one'.",
        "GET /three: no handler has the name of the operationId 'three'.",
        "The handler 'four' has no operation in the contract.",
        "The handler 'five' has no operation in the contract.",
    ]


def test_all_signatures_that_do_not_match_are_reported_together(contract):
    def in_query(name, **more):
        return {"name": name, "in": "query", "schema": {"type": "integer"}, **more}

    def no_such_argument(limit, colour):
        pass

    def needs_a_default(limit):
        pass

    def by_position(limit, /):
        pass

    def takes_no_path():
        pass

    handlers = {f.__name__: f for f in (no_such_argument, needs_a_default, by_position, takes_no_path)}
    document = contract(
        {
            **paths(
                no_such_argument={"parameters": [in_query("limit", required=True)]},
                needs_a_default={"parameters": [in_query("limit")]},
                by_position={"parameters": [in_query("limit", required=True)]},
            ),
            "/rows/{row_id}": {
                "get": {
                    "operationId": "takes_no_path",
                    "parameters": [{"name": "row_id", "in": "path", "required": True, "schema": {"type": "integer"}}],
                }
            },
        }
    )

    assert faults(document, handlers) == [
        "no_such_argument: the contract has nothing for the handler's argument 'colour'.",
        "needs_a_default: the handler's argument 'limit' is optional in the contract; give it a default.",
        "by_position: the handler's argument 'limit' cannot be given by name.",
        "takes_no_path: the handler does not take the path parameter 'row_id'.",
    ]


@pytest.mark.parametrize(
    "handler",
    [
        lambda row_id, limit=None, body=None: None,
        lambda *, row_id, limit=1, body: None,
        lambda row_id, body: None,
        lambda **everything: None,
        lambda row_id, **everything: None,
        lambda row_id, more="own default": None,
    ],
)
def test_matching_signatures_are_accepted(contract, handler):
    operation = {
        "operationId": "handler",
        "parameters": [
            {"name": "row_id", "in": "path", "required": True, "schema": {"type": "integer"}},
            {"name": "limit", "in": "query", "schema": {"type": "integer"}},
        ],
        "requestBody": {"content": {"application/json": {"schema": {}}}},
    }

    start(contract({"/rows/{row_id}": {"put": operation}}), {"handler": handler})


def test_an_operation_id_given_twice_is_a_fault(contract):
    document = contract({"/a": {"get": {"operationId": "twice"}}, "/b": {"get": {"operationId": "twice"}}})

    assert faults(document, {"twice": lambda: None}) == ["The operationId 'twice' is given twice."]


def test_every_place_that_is_not_openapi_is_reported():
    document = {
        "openapi": "3.0.3",
        "info": {"title": "Only a title"},
        "paths": {"/a": {"get": {"operationId": "a"}}, "/b": {"get": {"responses": {"200": {}}}}},
    }
    found = faults(document)

    assert [fault.split(":")[0] for fault in found] == [
        "The contract is not OpenAPI at #/info",
        "The contract is not OpenAPI at #/paths/~1a/get",
        "The contract is not OpenAPI at #/paths/~1b/get/responses/200",
    ]


def test_references_to_nothing_are_reported_together(contract):
    document = contract(
        {
            "/a": {"get": {"operationId": "a", "parameters": [{"$ref": "#/components/parameters/limit"}]}},
            "/b": {"get": {"operationId": "b", "responses": {"200": {"$ref": "#/components/responses/B"}}}},
        },
        {"A": {"properties": {"b": {"$ref": "#/components/schemas/B"}}}},
    )

    assert faults(document) == [
        "The reference #/components/parameters/limit points to nothing.",
        "The reference #/components/responses/B points to nothing.",
        "The reference #/components/schemas/B points to nothing.",
    ]


def test_references_to_nothing_in_a_file_are_reported_too(tmp_path):
    path = tmp_path / "openapi.yaml"
    path.write_text("openapi: 3.0.3\ninfo: {title: T, version: '1'}\npaths: {/a: {$ref: '#/components/paths/a'}}\n")

    assert faults(path) == ["The reference #/components/paths/a points to nothing."]


def test_a_reference_to_a_missing_file_is_a_fault(contract):
    document = contract(paths(a={"responses": {"200": {"$ref": "nowhere.yaml"}}}))
    found = faults(document)

    assert len(found) == 1
    assert found[0].startswith("The contract has an unusable reference: ")
    assert "nowhere.yaml" in found[0]


def test_invalid_patterns_are_reported_together(contract):
    schema = {
        "200": {"description": "A.", "content": {"application/json": {"schema": {"type": "string", "pattern": "("}}}}
    }
    found = faults(contract(paths(a={"responses": schema}, b={"responses": schema})), {"a": int, "b": int})

    assert [fault.partition(": ")[0] for fault in found[:2]] == ["GET /a", "GET /b"]
    assert all("regex" in fault for fault in found[:2])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "The contract does not say which version of OpenAPI it is written in."),
        ("[]", "The contract does not say which version of OpenAPI it is written in."),
        ("info: {}", "The contract does not say which version of OpenAPI it is written in."),
    ],
)
def test_a_file_that_is_not_a_contract_is_a_fault(tmp_path, text, fault):
    path = tmp_path / "openapi.yaml"
    path.write_text(text)

    assert faults(path) == [fault]


@pytest.mark.parametrize("text", ["a: [", "\x00"])
def test_a_file_that_is_not_yaml_is_a_fault(tmp_path, text):
    path = tmp_path / "openapi.yaml"
    path.write_text(text)

    found = faults(path)

    assert len(found) == 1
    assert found[0].startswith("The contract cannot be read: ")


def test_a_missing_file_is_a_fault(tmp_path):
    found = faults(tmp_path / "openapi.yaml")

    assert len(found) == 1
    assert found[0].startswith("The contract cannot be read: [Errno 2] No such file or directory")


def test_a_file_is_read_and_served(tmp_path, ask):
    path = tmp_path / "openapi.yaml"
    path.write_text(
        "openapi: 3.0.3\ninfo: {title: T, version: '1'}\n"
        "paths: {/a: {get: {operationId: a, responses: {200: {description: A., content: {application/json: {}}}}}}}\n"
    )

    assert ask(start(path, {"a": lambda: "read"}), "GET", "/a").json() == "read"


def test_the_middleware_stack_can_be_built_before_the_first_request(contract):
    app = start(contract(paths(one={})), {"one": lambda: {"a": 1}})
    before = app.middleware.middleware_stack
    app.build()
    built = app.middleware.middleware_stack
    status = app.test_client().get("/one").status_code

    assert (before, status) == (None, 200)
    assert built is not None
    assert app.middleware.middleware_stack is built
