"""The published contract and Swagger UI."""

import threading
from urllib.parse import quote

import pytest
import yaml
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
def test_swagger_ui_options_are_used(ask, compiled, contract, options, answered, base_path):
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


def test_the_title_is_escaped(ask, compiled, contract):
    def a():
        return "a"

    document = contract({"/a": {"get": {"operationId": "a"}}}, info={"title": "<b>A & B</b>", "version": "1"})

    assert b"<title>&lt;b>A &amp; B&lt;/b></title>" in ask(compiled(document, a), "GET", "/ui/").body


def a():
    return "a"


@pytest.fixture
def written(monkeypatch):
    """The threads in which YAML was serialised."""
    threads = []
    dump = yaml.dump_all

    def noted(*arguments, **options):
        threads.append(threading.current_thread())
        return dump(*arguments, **options)

    monkeypatch.setattr(yaml, "dump_all", noted)
    return threads


def test_the_contract_is_serialised_once_and_not_in_the_event_loop(ask, compiled, contract, written):
    app = compiled(contract({"/a": {"get": {"operationId": "a"}}}), a)
    roots = ["", *(f"/mounted/{number}" for number in range(20))]
    replies = [ask(app, "GET", f"{root}/openapi.yaml", root_path=root) for root in roots]

    assert [yaml.safe_load(reply.body)["servers"] for reply in replies] == [[{"url": root or "/"}] for root in roots]
    assert len({reply.header("etag") for reply in replies}) == len(roots)
    assert len(written) == 1
    assert threading.current_thread() not in written


def test_memory_does_not_grow_with_the_number_of_root_paths(ask, compiled, contract):
    app = compiled(contract({"/a": {"get": {"operationId": "a"}}}), a)
    for target in ("/openapi.json", "/openapi.yaml", "/ui/", "/ui", "/ui/swagger-ui.css"):
        first = ask(app, "GET", target)
        second = ask(app, "GET", f"/mounted{target}", root_path="/mounted")

        assert first.status == second.status
    (documentation,) = app._documentations

    assert set(documentation.made) == {"/openapi.json", "/openapi.yaml", "/ui/", "/ui", "/ui/swagger-ui.css"}


@pytest.mark.parametrize("kind", ["json", "yaml"])
@pytest.mark.parametrize("root_path", ["", "/a", "/a b", '/"', "/\u00e9", "/a: b #"])
def test_the_published_contract_differs_only_in_its_servers(ask, compiled, contract, kind, root_path):
    document = contract(
        {"/a": {"get": {"operationId": "a", "summary": "url: \u00e9 - {curly}", "deprecated": True}}},
        {"Shared": {"type": "object", "example": {"on": "yes", "number": 1.5, "none": None, "text": "a\nb  "}}},
    )
    reply = ask(compiled(document, a), "GET", quote(f"{root_path}/openapi.{kind}"), root_path=root_path)

    assert yaml.safe_load(reply.body) == {**document, "servers": [{"url": root_path or "/"}]}


def test_405_for_other_methods_on_the_documentation(ask, compiled, contract):
    app = compiled(contract({"/a": {"get": {"operationId": "a"}}}), a)

    assert ask(app, "POST", "/openapi.yaml").header("allow") == "GET, HEAD, OPTIONS"
    assert ask(app, "OPTIONS", "/openapi.yaml").header("allow") == "GET, HEAD, OPTIONS"
