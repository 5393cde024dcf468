"""Cross-origin requests: the requests that pages of other origins may send, and the responses that they may read."""

import pytest

from api.config import ConfigurationError
from tests.applications import application

HERE = ("Origin", "https://app.example")
ELSEWHERE = ("Origin", "https://elsewhere.example")
READABLE = "Link, Location, Allow, Retry-After, ETag"
ANN = b'{"username": "ann", "email": "ann@example.com"}'
JSON = ("Content-Type", "application/json")


@pytest.fixture(scope="module")
def listed(database_url):
    """Requests to an application that allows two origins, on the run's database."""
    origins = "https://app.example, http://localhost:3000"
    with application(SQLALCHEMY_DATABASE_URI=database_url, API_CORS_ORIGINS=origins, API_MAX_BODY_BYTES=1000) as app:
        yield app


@pytest.fixture(scope="module")
def for_all(database_url):
    """Requests to an application that allows all origins."""
    with application(SQLALCHEMY_DATABASE_URI=database_url, API_CORS_ORIGINS="*") as app:
        yield app


@pytest.fixture(autouse=True)
def _empty(empty):
    empty()


def cross_origin(reply):
    """The CORS headers of a response."""
    return {
        name.decode(): reply.header(name.decode())
        for name, _ in reply.headers
        if name.startswith(b"access-control-") or name == b"vary"
    }


REFUSALS = {
    "400": (400, "GET", "/api/users?limit=0", [], b""),
    "404 of a row": (404, "GET", "/api/users/1", [], b""),
    "404 of a path": (404, "GET", "/nowhere", [], b""),
    "405": (405, "PATCH", "/api/users", [], b""),
    "413": (413, "POST", "/api/users", [JSON], b"x" * 1001),
    "415": (415, "POST", "/api/users", [("Content-Type", "text/plain")], b"x"),
}


def test_a_page_of_an_allowed_origin_may_read_a_response(listed, ask):
    reply = ask(listed, "POST", "/api/users", [HERE, JSON], ANN)

    assert (reply.status, reply.header("location")) == (201, "/api/users/1")
    assert cross_origin(reply) == {
        "access-control-allow-origin": "https://app.example",
        "access-control-expose-headers": READABLE,
        "vary": "Origin",
    }


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_page_of_an_allowed_origin_may_read_a_refusal(listed, ask, refusal):
    status, method, target, headers, body = refusal

    reply = ask(listed, method, target, [HERE, *headers], body)

    assert (reply.status, reply.json()["status"]) == (status, status)
    assert cross_origin(reply) == {
        "access-control-allow-origin": "https://app.example",
        "access-control-expose-headers": READABLE,
        "vary": "Origin",
    }


def test_a_page_of_an_allowed_origin_may_read_a_503(ask, tmp_path):
    with application(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/empty.db", API_CORS_ORIGINS="https://app.example"
    ) as app:
        reply = ask(app, "GET", "/api/health/ready", [HERE])

    assert (reply.status, reply.header("retry-after")) == (503, "1")
    assert reply.header("access-control-allow-origin") == "https://app.example"
    assert reply.header("access-control-expose-headers") == READABLE


@pytest.mark.parametrize(
    "origin",
    [
        ELSEWHERE,
        ("Origin", "https://app.example.elsewhere.example"),
        ("Origin", "http://app.example"),
        ("Origin", "https://app.example:8443"),
        ("Origin", "null"),
        ("Origin", ""),
    ],
)
def test_a_page_of_another_origin_may_read_nothing(listed, ask, origin):
    reply = ask(listed, "GET", "/api/users", [origin])

    assert (reply.status, reply.json()) == (200, [])
    assert cross_origin(reply) == {"vary": "Origin"}


def test_an_answer_without_an_origin_says_that_it_depends_on_one(listed, ask):
    reply = ask(listed, "GET", "/api/users")

    assert cross_origin(reply) == {"vary": "Origin"}


@pytest.mark.parametrize("origin", [ELSEWHERE, ("Origin", "null")])
def test_when_all_origins_are_allowed_the_response_is_the_same_for_all(for_all, ask, origin):
    reply = ask(for_all, "GET", "/api/users", [origin])

    assert cross_origin(reply) == {"access-control-allow-origin": "*", "access-control-expose-headers": READABLE}
    assert cross_origin(ask(for_all, "GET", "/api/users")) == {}


@pytest.mark.unrecorded("a preflight asks about a request, and has no path of its own")
@pytest.mark.parametrize("target", ["/api/users", "/api/users/1", "/api/openapi.json", "/nowhere", "//", "/api/users/"])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_preflight_of_an_allowed_origin_is_granted_for_every_path(listed, ask, target, method):
    asked = [
        HERE,
        ("Access-Control-Request-Method", method),
        ("Access-Control-Request-Headers", "content-type,x-request-id"),
    ]

    reply = ask(listed, "OPTIONS", target, asked)

    assert (reply.status, reply.body, reply.header("content-type")) == (204, b"", None)
    assert cross_origin(reply) == {
        "access-control-allow-origin": "https://app.example",
        "access-control-allow-methods": "DELETE, GET, HEAD, PATCH, POST, PUT",
        "access-control-allow-headers": "content-type,x-request-id",
        "access-control-max-age": "600",
        "vary": "Origin, Access-Control-Request-Headers",
    }


def test_a_preflight_is_granted_when_all_origins_are_allowed(for_all, ask):
    reply = ask(for_all, "OPTIONS", "/api/users", [ELSEWHERE, ("Access-Control-Request-Method", "POST")])

    assert reply.status == 204
    assert reply.header("access-control-allow-origin") == "*"
    assert "POST" in reply.header("access-control-allow-methods")
    assert reply.header("access-control-allow-headers") is None


def test_a_preflight_of_another_origin_is_an_ordinary_options(listed, ask):
    reply = ask(listed, "OPTIONS", "/api/users", [ELSEWHERE, ("Access-Control-Request-Method", "POST")])

    assert (reply.status, reply.header("allow")) == (204, "GET, HEAD, OPTIONS, POST")
    assert cross_origin(reply) == {"vary": "Origin"}


def test_options_that_is_no_preflight_says_what_the_path_takes(listed, ask):
    reply = ask(listed, "OPTIONS", "/api/users", [HERE])

    assert (reply.status, reply.header("allow")) == (204, "GET, HEAD, OPTIONS, POST")
    assert reply.header("access-control-allow-origin") == "https://app.example"


@pytest.mark.parametrize("name", ["openapi.json", "openapi.yaml"])
@pytest.mark.parametrize("origin", [HERE, ELSEWHERE])
def test_the_contract_stays_open_to_everyone(listed, ask, name, origin):
    reply = ask(listed, "GET", f"/api/{name}", [origin])

    assert reply.status == 200
    assert cross_origin(reply) == {
        "access-control-allow-origin": "*",
        "access-control-expose-headers": "ETag",
        "vary": "accept-encoding",  # not Origin: the response is the same for all
    }


@pytest.mark.parametrize("name", ["openapi.json", "openapi.yaml"])
def test_pages_of_all_origins_may_send_headers_with_a_request_for_the_contract(app, ask, name):
    asked = [ELSEWHERE, ("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "x-tool")]

    reply = ask(app, "OPTIONS", f"/api/{name}", asked)

    assert (reply.status, reply.header("allow")) == (204, "GET, HEAD, OPTIONS")
    assert cross_origin(reply) == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET, HEAD",
        "access-control-allow-headers": "*",
    }


def test_credentials_are_never_allowed(listed, for_all, ask):
    asked = [HERE, ("Access-Control-Request-Method", "GET"), ("Cookie", "session=1")]
    replies = [ask(app, method, "/api/users", asked) for app in (listed, for_all) for method in ("GET", "OPTIONS")]

    assert [reply.header("access-control-allow-credentials") for reply in replies] == [None] * 4


def test_without_the_setting_no_origin_is_allowed(app, ask):
    reply = ask(app, "GET", "/api/users", [HERE])

    assert (reply.status, cross_origin(reply)) == (200, {})


@pytest.mark.parametrize(
    "origin",
    [
        "app.example",
        "https://app.example/",
        "https://App.example",
        "https://user@app.example",
        "https://",
        "null",
        "**",
    ],
)
def test_an_origin_that_no_browser_sends_stops_the_start(origin):
    with (
        pytest.raises(ConfigurationError) as refusal,
        application(SQLALCHEMY_DATABASE_URI="sqlite://", API_CORS_ORIGINS=["https://app.example", origin]),
    ):
        pass

    assert str(refusal.value) == f"API_CORS_ORIGINS: {origin!r} is not an origin such as https://app.example"
