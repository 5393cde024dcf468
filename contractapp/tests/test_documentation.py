"""The published contract and Swagger UI."""

import gzip
import re
import threading
from hashlib import sha256
from urllib.parse import quote

import brotli
import pytest
import yaml
from connexion.options import SwaggerUIOptions

from contractapp.asgi.documentation import _MAX_PREFIXED


@pytest.mark.parametrize(
    ("options", "answered"),
    [
        ({}, {"/openapi.json": 200, "/openapi.yaml": 200, "/ui/": 200}),
        ({"swagger_ui": False}, {"/openapi.json": 200, "/openapi.yaml": 200, "/ui/": 404}),
        ({"serve_spec": False}, {"/openapi.json": 404, "/openapi.yaml": 404, "/ui/": 404}),
        ({"spec_path": "/spec.json"}, {"/openapi.json": 404, "/spec.json": 200, "/spec.yaml": 200, "/ui/": 200}),
        (
            {"swagger_ui_path": "/a/docs"},
            {"/openapi.json": 200, "/a/docs/": 200, "/a/docs/index.html": 200, "/ui/": 404},
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


def test_the_page_finds_the_contract_from_a_deeper_path(ask, compiled, contract):
    def a():
        return "a"

    app = compiled(
        contract({"/a": {"get": {"operationId": "a"}}}),
        a,
        swagger_ui_options=SwaggerUIOptions(swagger_ui_path="/a/docs"),
    )

    assert b'data-contract="../../openapi.json"' in ask(app, "GET", "/a/docs/").body


def test_the_title_is_escaped(ask, compiled, contract):
    def a():
        return "a"

    document = contract({"/a": {"get": {"operationId": "a"}}}, info={"title": "<b>A & B</b>", "version": "1"})

    assert b"<title>&lt;b&gt;A &amp; B&lt;/b&gt;</title>" in ask(compiled(document, a), "GET", "/ui/").body


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


def test_a_file_is_kept_once_and_the_contract_for_the_latest_root_paths(ask, compiled, contract):
    app = compiled(contract({"/a": {"get": {"operationId": "a"}}}), a)
    for number in range(_MAX_PREFIXED + 5):
        for target in ("/ui/", "/openapi.json"):
            assert ask(app, "GET", f"/{number}{target}", root_path=f"/{number}").status == 200
    (documentation,) = app._documentations

    kept = [f"/{number}" for number in range(5, _MAX_PREFIXED + 5)]
    assert list(documentation._made) == [("/ui/", ""), *(("/openapi.json", root_path) for root_path in kept)]


def linked(ask, app):
    """The addresses that the page of Swagger UI links."""
    return re.findall(r'(?:src|href)="([^"]+)"', ask(app, "GET", "/ui/").body.decode())


def test_the_name_of_a_file_is_that_of_its_content_for_ever(ask, compiled, contract):
    app = compiled(contract({"/a": {"get": {"operationId": "a"}}}), a)
    files = [name for name in linked(ask, app) if not name.startswith("../")]

    assert len(files) == 6
    for name in files:
        file = ask(app, "GET", f"/ui/{name}")
        assert (file.status, file.header("cache-control")) == (200, "public, max-age=31536000, immutable"), name
        assert sha256(file.body).hexdigest().startswith(name.split(".")[-2]), name
        assert file.header("etag") == f'"{sha256(file.body).hexdigest()[:32]}"'


def test_swagger_ui_and_the_contract_have_no_name_of_their_content(ask, compiled, contract):
    app = compiled(contract({"/a": {"get": {"operationId": "a"}}}), a)

    for target in ("/ui/", "/ui/index.html", "/openapi.json", "/openapi.yaml"):
        assert ask(app, "GET", target).header("cache-control") == "no-cache", target


DECODED = {"br": brotli.decompress, "gzip": gzip.decompress, None: bytes}


@pytest.mark.parametrize("target", ["script", "style", "/ui/", "/openapi.json", "/openapi.yaml"])
@pytest.mark.parametrize("coding", ["br", "gzip"])
def test_what_is_published_comes_in_the_coding_that_the_client_accepts(ask, compiled, contract, target, coding):
    document = contract({"/a": {"get": {"operationId": "a", "description": "long " * 200}}})
    app = compiled(document, a)
    kinds = {"script": "swagger-ui-bundle", "style": "swagger-ui."}
    if target in kinds:
        target = next(f"/ui/{name}" for name in linked(ask, app) if name.startswith(kinds[target]))
    plain = ask(app, "GET", target)
    coded, head = (ask(app, method, target, [("Accept-Encoding", coding)]) for method in ("GET", "HEAD"))

    assert plain.header("content-encoding") is None
    assert coded.header("content-encoding") == coding
    assert len(coded.body) < 0.7 * len(plain.body)
    assert DECODED[coding](coded.body) == plain.body
    assert (head.status, head.headers, head.body) == (200, coded.headers, b"")
    assert coded.header("content-length") == str(len(coded.body))
    assert coded.header("vary") == plain.header("vary") == "accept-encoding"
    assert coded.header("content-type") == plain.header("content-type")


@pytest.mark.parametrize("target", ["/ui/", "/openapi.json"])
def test_each_coding_has_its_etag(ask, compiled, contract, target):
    app = compiled(contract({"/a": {"get": {"operationId": "a", "description": "long " * 200}}}), a)
    accepted = {coding: [("Accept-Encoding", coding)] for coding in ("br", "gzip", "identity")}
    etags = {coding: ask(app, "GET", target, headers).header("etag") for coding, headers in accepted.items()}

    assert len(set(etags.values())) == 3
    for coding, headers in accepted.items():
        for other, etag in etags.items():
            again = ask(app, "GET", target, [*headers, ("If-None-Match", etag)])
            assert again.status == (304 if coding == other else 200), (coding, other)
            assert (again.header("etag"), again.header("vary")) == (etags[coding], "accept-encoding")
        unchanged = ask(app, "GET", target, [*headers, ("If-None-Match", etags[coding])])
        assert [unchanged.header(f"content-{name}") for name in ("encoding", "length", "type")] == [None] * 3


def test_a_file_that_no_coding_makes_smaller_comes_as_it_is(ask, compiled, contract):
    app = compiled(contract({"/a": {"get": {"operationId": "a"}}}), a)
    icon = next(name for name in linked(ask, app) if name.endswith(".png"))
    reply = ask(app, "GET", f"/ui/{icon}", [("Accept-Encoding", "gzip")])

    assert (reply.header("content-encoding"), reply.body[:4]) == (None, b"\x89PNG")


@pytest.mark.parametrize("target", ["/ui/", "/openapi.json"])
def test_a_range_gets_the_whole(ask, compiled, contract, target):
    app = compiled(contract({"/a": {"get": {"operationId": "a", "description": "long " * 200}}}), a)
    for coding in ("br", "gzip", "identity"):
        accepted = [("Accept-Encoding", coding)]
        whole, ranged = ask(app, "GET", target, accepted), ask(app, "GET", target, [*accepted, ("Range", "bytes=0-9")])

        assert (ranged.status, ranged.headers, ranged.body) == (200, whole.headers, whole.body)
        assert ranged.header("accept-ranges") is None


def test_a_page_is_compressed_once_and_not_in_the_event_loop(ask, compiled, contract, monkeypatch):
    threads = []
    compress = brotli.compress

    def noted(*arguments, **options):
        threads.append(threading.current_thread())
        return compress(*arguments, **options)

    monkeypatch.setattr(brotli, "compress", noted)
    app = compiled(contract({"/a": {"get": {"operationId": "a"}}}), a)
    for _ in range(3):
        for coding in ("br", "gzip", "identity"):
            ask(app, "GET", "/openapi.json", [("Accept-Encoding", coding)])

    assert len(threads) == 1
    assert threading.current_thread() not in threads


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
