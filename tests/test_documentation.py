"""The contract as the service publishes it, and Swagger UI."""

import re
from pathlib import Path

import orjson
import pytest
import yaml

AUTHORED = yaml.safe_load(Path("openapi/openapi.yaml").read_text())


@pytest.mark.parametrize(("name", "read"), [("openapi.json", orjson.loads), ("openapi.yaml", yaml.safe_load)])
def test_the_contract_is_served_unchanged_except_for_its_server(app, ask, name, read):
    reply = ask(app, "GET", f"/api/{name}")

    assert reply.header("content-type") == f"application/{name.rpartition('.')[2]}"
    assert read(reply.body) == {**AUTHORED, "servers": [{"url": "/api"}]}


@pytest.mark.parametrize("name", ["openapi.json", "openapi.yaml"])
def test_the_served_contract_keeps_its_references_and_names_no_module(app, ask, name):
    text = ask(app, "GET", f"/api/{name}").body.decode()

    assert text.count("$ref") == str(AUTHORED).count("$ref") > 100
    assert not re.search(r"\bapi\.(users|posts|health|contract)\b|x-openapi-router-controller", text)


@pytest.mark.parametrize("name", ["openapi.json", "ui/"])
def test_the_contract_has_the_prefix_that_a_proxy_removed(app, ask, name):
    reply = ask(app, "GET", f"/outside/api/{name}", root_path="/outside")

    assert reply.status == 200
    if name == "openapi.json":
        assert reply.json()["servers"] == [{"url": "/outside/api"}]


def linked(ask, app):
    """The files that the page of Swagger UI links."""
    names = re.findall(r'(?:src|href)="([^"]+)"', ask(app, "GET", "/api/ui/").body.decode())
    return [f"/api/ui/{name}" for name in names if not name.startswith("../")]


@pytest.mark.parametrize("target", ["/api/openapi.json", "/api/openapi.yaml", "/api/ui/"])
def test_304_for_a_response_that_the_client_has_cached(app, ask, target):
    first = ask(app, "GET", target)
    etag = first.header("etag")

    assert re.fullmatch(r'"[0-9a-f]{32}"', etag)
    assert first.header("cache-control") == "no-cache"
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = ask(app, "GET", target, [("If-None-Match", known)])
        assert (again.status, again.body, again.header("etag")) == (304, b"", etag), known
        assert again.header("content-type") is None
    assert ask(app, "GET", target, [("If-None-Match", '"other"')]).body == first.body
    assert ask(app, "HEAD", target, [("If-None-Match", etag)]).status == 304


@pytest.mark.parametrize("name", ["openapi.json", "openapi.yaml"])
def test_pages_of_all_origins_may_read_the_contract(app, ask, name):
    get = ask(app, "GET", f"/api/{name}", [("Origin", "https://editor.example")])
    preflight = ask(
        app,
        "OPTIONS",
        f"/api/{name}",
        [("Origin", "https://editor.example"), ("Access-Control-Request-Method", "GET")],
    )

    assert get.header("access-control-allow-origin") == "*"
    assert (preflight.status, preflight.body) == (204, b"")
    assert preflight.header("access-control-allow-origin") == "*"
    assert "GET" in preflight.header("access-control-allow-methods")


@pytest.mark.parametrize(
    "target", ["/api/openapi.json", "/api/openapi.yaml", "/api/ui", "/api/ui/", "/api/ui/index.html", "/"]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_405_for_every_method_that_writes(app, ask, target, method):
    reply = ask(app, method, target)

    assert (reply.status, reply.header("allow")) == (405, "GET, HEAD, OPTIONS")
    assert reply.header("content-type") == "application/problem+json"


@pytest.mark.parametrize(
    ("target", "root_path", "location"),
    [("/", "", "/api/ui/"), ("/api/ui", "", "/api/ui/"), ("/outside/", "/outside", "/outside/api/ui/")],
)
def test_307_to_swagger_ui(app, ask, target, root_path, location):
    reply = ask(app, "GET", target, root_path=root_path)

    assert (reply.status, reply.header("location"), reply.body) == (307, location, b"")


def test_swagger_ui_is_one_page_and_files_of_this_server(app, ask):
    page = ask(app, "GET", "/api/ui/")

    assert page.header("content-type") == "text/html; charset=utf-8"
    assert "<title>Users and Posts API</title>" in page.body.decode()
    assert 'data-contract="../openapi.json"' in page.body.decode()
    assert "https:" not in page.body.decode()
    assert len(linked(ask, app)) == 6
    for target in linked(ask, app):
        file = ask(app, "GET", target)
        assert (file.status, file.header("x-content-type-options")) == (200, "nosniff"), target


def test_the_policy_of_swagger_ui_lets_nothing_in_from_elsewhere(app, ask):
    for target in ["/api/ui/", *linked(ask, app)]:
        header = ask(app, "GET", target).header("content-security-policy")
        policy = dict(directive.strip().split(" ", 1) for directive in header.split(";"))

        assert policy["default-src"] == "'none'", target
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"


@pytest.mark.parametrize(
    "target",
    [
        "/api/ui/index.css",
        "/api/ui/../app.py",
        "/api/ui/swagger-ui.css/",
        "/api/ui//",
        "/api/openapi.jsonx",
        "/api/uix",
        "/api/openapi",
    ],
)
def test_404_for_every_other_path(app, ask, target):
    assert ask(app, "GET", target).status == 404
