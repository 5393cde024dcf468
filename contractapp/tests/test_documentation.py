"""The contract as it is served, and Swagger UI beside it."""

import pytest
from connexion.options import SwaggerUIOptions


@pytest.mark.parametrize(
    ("options", "answered"),
    [
        ({}, {"/openapi.json": 200, "/openapi.yaml": 200, "/ui/": 200}),
        ({"swagger_ui": False}, {"/openapi.json": 200, "/openapi.yaml": 200, "/ui/": 404}),
        ({"serve_spec": False}, {"/openapi.json": 404, "/openapi.yaml": 404, "/ui/": 404}),
        ({"spec_path": "/spec.json"}, {"/openapi.json": 404, "/spec.json": 200, "/spec.yaml": 200, "/ui/": 200}),
        (
            {"swagger_ui_path": "/a/docs"},
            {"/openapi.json": 200, "/a/docs/": 200, "/a/docs/initialize.js": 200, "/ui/": 404},
        ),
    ],
)
@pytest.mark.parametrize("base_path", ["", "/v1"])
def test_swagger_ui_options_are_heeded(ask, compiled, contract, options, answered, base_path):
    document = contract({"/a": {"get": {"operationId": "a"}}})

    def a():
        return "a"

    app = compiled(document, a, swagger_ui_options=SwaggerUIOptions(**options), base_path=base_path)

    assert {target: ask(app, "GET", base_path + target).status for target in answered} == answered


def test_the_script_finds_the_contract_from_a_deeper_path(ask, compiled, contract):
    def a():
        return "a"

    app = compiled(
        contract({"/a": {"get": {"operationId": "a"}}}),
        a,
        swagger_ui_options=SwaggerUIOptions(swagger_ui_path="/a/docs"),
    )

    assert b'url: "../../openapi.json"' in ask(app, "GET", "/a/docs/initialize.js").body


def test_the_title_is_text_and_no_markup(ask, compiled, contract):
    def a():
        return "a"

    document = contract({"/a": {"get": {"operationId": "a"}}}, info={"title": "<b>A & B</b>", "version": "1"})

    assert b"<title>&lt;b>A &amp; B&lt;/b></title>" in ask(compiled(document, a), "GET", "/ui/").body
