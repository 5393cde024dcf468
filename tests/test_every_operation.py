"""Tests that hold for every operation of the contract, run for each."""

import asyncio
import re
from http import HTTPStatus

import pytest
import yaml

from tests import resources
from tests.applications import application
from tests.resources import CONTRACT

MAX_BODY_BYTES = 1_048_576
JSON = {"Content-Type": "application/json"}

# No operation uses PATCH; a method of WebDAV and an invented one stand for all other methods.
METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT", "TRACE", "PROPFIND", "SHOUT", "get", "Post")

FREE_TEXT = "does-not-come-back"


OPERATIONS = list(resources.OPERATIONS.values())
PATHS = {
    operation.url(): sorted(other.method for other in OPERATIONS if other.path == operation.path)
    for operation in OPERATIONS
}
LISTS = [operation.url() for operation in OPERATIONS if operation.name.startswith("list_")]


def body_of(operation):
    """The first example of the request body; None for an operation without a body."""
    return next(iter(operation.bodies.values()), None)


def path_parameters(operation):
    return re.findall(r"\{([a-z_]+)\}", operation.path)


def each(found):
    return pytest.mark.parametrize("operation", found, ids=lambda operation: operation.name)


every = each(OPERATIONS)
every_get = each([operation for operation in OPERATIONS if operation.method == "GET"])
every_without_body = each([operation for operation in OPERATIONS if not operation.bodies])
every_with_body = each([operation for operation in OPERATIONS if operation.bodies])
every_with_id = each([operation for operation in OPERATIONS if path_parameters(operation)])


def allowed(methods):
    return ", ".join(sorted({*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))


def send(client, operation, url=None, **request):
    """Send a valid request of the operation, with the given parts replaced."""
    if operation.bodies and not request.keys() & {"json", "content"}:
        request["json"] = body_of(operation)
    return client.request(operation.method, url or operation.url(), **request)


def assert_problem(response, status, detail, title=None, errors=None):
    """The response is this problem and nothing else."""
    body = {
        "type": "about:blank" if errors is None else "urn:problem:invalid-request",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "error": detail,
    }
    if errors is not None:
        body["errors"] = [{"in": place, "pointer": pointer, "detail": reason} for place, pointer, reason in errors]
    assert response.json() == body
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["content-length"] == str(len(response.content))


def assert_invalid(response, *errors):
    assert_problem(response, 400, "The request does not match the contract.", "Invalid request", errors)


def assert_not_there(response):
    assert_problem(response, 404, "There is nothing at this path.")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "SHOUT"])
@pytest.mark.parametrize(
    "path",
    ["/nothing", "/users", "/api", "/api/", "/api/nonexistent", "/api/Users", "/api/users/1/posts", "/api//users"],
)
def test_404_for_a_path_that_is_not_in_the_contract(client, path, method):
    response = client.request(method, path, json={})

    assert_not_there(response)


@every
def test_404_for_a_trailing_slash(client, rows, operation):
    response = send(client, operation, f"{operation.url()}/", follow_redirects=False)

    assert_not_there(response)


@every
def test_404_for_the_path_in_capitals(client, rows, operation):
    response = send(client, operation, operation.url().upper())

    assert_not_there(response)


@pytest.mark.parametrize(
    ("path", "method"), [(path, method) for path in PATHS for method in METHODS if method not in PATHS[path]]
)
def test_405_names_every_method_of_the_path(client, path, method):
    response = client.send(_unchanged(client, method, path))

    assert response.headers["allow"] == allowed(PATHS[path])
    assert_problem(response, 405, "This path does not take this method.")


def _unchanged(client, method, path):
    """A request whose method is not changed to upper case, as the client would do."""
    request = client.build_request(method, path)
    request.method = method
    return request


def test_405_whatever_else_is_wrong(client):
    response = client.patch("/api/users/one?x=1", content=b"{", headers={"Content-Type": "text/plain"})

    assert_problem(response, 405, "This path does not take this method.")


def test_allow_is_what_the_contract_shows(client):
    shown = {example["value"] for example in CONTRACT.document["components"]["headers"]["Allow"]["examples"].values()}

    assert shown == {allowed(methods) for methods in PATHS.values()}


@pytest.mark.parametrize("path", PATHS)
def test_204_for_options_with_the_methods_of_the_path(client, path):
    response = client.options(path)

    assert response.status_code == 204
    assert dict(response.headers) == {"allow": allowed(PATHS[path])}
    assert response.content == b""


@every_get
def test_head_is_get_without_the_body(client, rows, operation):
    got = client.get(operation.url())

    response = client.head(operation.url())

    assert got.content != b""
    assert response.content == b""
    assert (response.status_code, response.headers) == (got.status_code, got.headers)


@pytest.mark.parametrize("url", ["/api/users?limit=1", "/api/users/999", "/api/users/one", "/api/users/1?x", "/api/no"])
def test_head_is_get_without_the_body_also_for_pages_and_refusals(client, make_user, url):
    make_user()
    make_user()
    got = client.get(url)

    response = client.head(url)

    assert response.content == b""
    assert (response.status_code, response.headers) == (got.status_code, got.headers)


@every_with_body
def test_413_for_a_body_over_the_limit(client, rows, operation):
    before = state(client)

    response = send(client, operation, content=b" " * (MAX_BODY_BYTES + 1), headers=JSON)

    assert_problem(
        response, 413, f"The request body is over the limit of {MAX_BODY_BYTES} bytes.", title="Content Too Large"
    )
    assert state(client) == before


@every_with_body
def test_413_for_a_body_over_the_limit_that_comes_in_chunks(client, operation):
    response = send(client, operation, content=(b" " * 65_536 for _ in range(17)), headers=JSON)

    assert_problem(
        response, 413, f"The request body is over the limit of {MAX_BODY_BYTES} bytes.", title="Content Too Large"
    )


@every_with_body
def test_413_whatever_else_is_wrong(client, operation):
    response = send(client, operation, f"{operation.url()}?x=1", content=b" " * (MAX_BODY_BYTES + 1))

    assert response.status_code == 413


@every_with_body
def test_a_body_of_the_greatest_length_is_read(client, operation):
    response = send(client, operation, content=b"{}".rjust(MAX_BODY_BYTES), headers=JSON)

    assert response.status_code == 400
    assert response.json()["errors"][0]["in"] == "body"


@pytest.fixture(scope="module")
def impatient():
    """Requests to an application that waits 0.1 seconds for a body."""
    with application(SQLALCHEMY_DATABASE_URI="sqlite:///:memory:", API_REQUEST_TIMEOUT_SECONDS=0.1) as app:
        yield app


@every_with_body
def test_408_for_a_body_that_does_not_arrive(impatient, operation):
    status, headers, body = asyncio.run(asked_slowly(impatient, operation))

    assert status == 408
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"connection"] == b"close"
    assert yaml.safe_load(body) == {
        "type": "about:blank",
        "title": "Request Timeout",
        "status": 408,
        "detail": "The request body did not arrive in time.",
        "error": "The request body did not arrive in time.",
    }


async def asked_slowly(app, operation):
    """The response to a request whose body is never completed."""
    sent = []
    halves = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def receive():
        return next(halves, None) or await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": operation.method,
        "path": operation.url(),
        "raw_path": operation.url().encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test"), (b"content-type", b"application/json"), (b"content-length", b"50")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    start, *rest = sent
    return start["status"], dict(start["headers"]), b"".join(message["body"] for message in rest)


NOT_JSON = "The media type of the request body is not application/json."

REFUSED_TYPES = [
    ({}, "The request has a body but no Content-Type; send application/json."),
    *(
        ({"Content-Type": media_type}, NOT_JSON)
        for media_type in (
            "",
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=a",
            "application/xml",
            "application/problem+json",
            "application/jsonp",
            "application/*",
            "*/*",
            "json",
            ";charset=utf-8",
        )
    ),
    *(
        ({"Content-Type": f"application/json; charset={charset}"}, "The charset of the request body is not utf-8.")
        for charset in ("latin-1", "utf-16", "us-ascii", "unheard-of", '"utf-7"', "")
    ),
    *(
        ({**JSON, "Content-Encoding": coding}, "The request body has a content coding; send it as it is.")
        for coding in ("gzip", "br", "identity, gzip", "unheard-of")
    ),
]

ACCEPTED_TYPES = [
    {"Content-Type": "application/json"},
    {"Content-Type": "application/json; charset=utf-8"},
    {"Content-Type": "Application/JSON ;Charset=UTF-8"},
    {"Content-Type": 'application/json;charset="Utf-8"'},
    {"Content-Type": "application/json; profile=a"},
    {"Content-Type": "application/json", "Content-Encoding": "identity"},
    {"Content-Type": "application/json", "Accept": "text/html"},
]


@every_with_body
@pytest.mark.parametrize(("headers", "detail"), REFUSED_TYPES)
def test_415_for_a_body_that_is_not_plain_json(client, rows, operation, headers, detail):
    before = state(client)

    response = send(client, operation, content=b'{"name": "a"}', headers=headers)

    assert_problem(response, 415, detail)
    assert state(client) == before


@every_with_body
def test_415_before_parameters_and_body_are_checked(client, operation):
    response = send(client, operation, f"{operation.url()}?x=1", content=b"{", headers={"Content-Type": "text/plain"})

    assert_problem(response, 415, NOT_JSON)


@every_with_body
@pytest.mark.parametrize("headers", ACCEPTED_TYPES)
def test_json_is_read_however_its_type_is_written(client, rows, operation, headers):
    response = send(client, operation, headers=headers)

    assert response.status_code in {200, 201}


@every_without_body
def test_a_body_of_an_operation_without_one_is_not_read(client, rows, operation):
    response = send(
        client,
        operation,
        content=b"\xff" * (MAX_BODY_BYTES + 1),
        headers={"Content-Type": "text/plain", "Content-Encoding": "gzip"},
    )

    assert response.status_code == 200


@every
def test_400_for_a_query_parameter_that_is_not_known(client, rows, operation):
    before = state(client)

    response = send(client, operation, f"{operation.url()}?verbose=1")

    assert_invalid(response, ("query", "/verbose", "is not a known parameter"))
    assert state(client) == before


@pytest.mark.parametrize(
    "query", ["limit=1&limit=1", "limit=1&limit=2", "cursor=a&limit=1&l%69mit=1", "user_id=1&limit=1&limit="]
)
def test_400_for_a_query_parameter_given_twice(client, query):
    response = client.get(f"/api/posts?{query}")

    assert ("query", "/limit", "is given more than once") in faults(response)


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("Limit=1", ("query", "/Limit", "is not a known parameter")),
        ("limit[]=1", ("query", "/limit[]", "is not a known parameter")),
        ("=1", ("query", "/", "is not a known parameter")),
        ("a/b~c=1", ("query", "/a~1b~0c", "is not a known parameter")),
        ("%ff=1", ("query", "", "has a parameter name that is not UTF-8")),
        ("limit=%ff", ("query", "/limit", "is not UTF-8")),
        ("limit=%", ("query", "/limit", "must be an integer")),
        ("limit", ("query", "/limit", "must be an integer")),
        ("limit=1;cursor=a", ("query", "/limit", "must be an integer")),
    ],
)
def test_400_for_a_query_that_only_looks_right(client, query, fault):
    response = client.get(f"/api/users?{query}")

    assert_invalid(response, fault)


@every_with_id
@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("0", "must be at least 1"),
        ("-1", "must be at least 1"),
        ("9007199254740992", "must be at most 9007199254740991"),
        ("9" * 400, "must be at most 9007199254740991"),
        *(
            (text, "must be an integer")
            for text in ("one", "+1", "01", "-0x1", "1_0", "1.0", "1e0", "1,1", "%201", "1%20", "1%0A", "%D9%A1", "%00")
        ),
        ("9" * 5000, "must be an integer"),
    ],
)
def test_400_for_an_invalid_id(client, rows, operation, text, detail):
    (name,) = path_parameters(operation)

    response = send(client, operation, operation.url(text))

    assert_invalid(response, ("path", f"/{name}", detail))


@every_with_id
def test_404_for_the_greatest_id(client, operation):
    response = send(client, operation, operation.url(str(2**53 - 1)))

    (shown,) = operation.definition["responses"]["404"]["content"]["application/problem+json"]["examples"].values()
    assert_problem(response, 404, shown["value"]["detail"])


NO_JSON = {
    "a sentence": b"invalid json",
    "cut off": b'{"title": "a"',
    "blanks alone": b" ",
    "a comma too many": b'{"title": "a",}',
    "single quotes": b"{'title': 'a'}",
    "a comment": b'{"title": "a"} // b',
    "two values": b"{} {}",
    "not a number": b'{"title": NaN}',
    "infinity": b'{"title": -Infinity}',
    "beyond every number": b'{"title": 1e400}',
    "more digits than Python reads": b'{"title": ' + b"9" * 5000 + b"}",
    "a leading zero": b'{"title": 01}',
    "half a surrogate pair": b'{"title": "\\ud800"}',
    "a raw line feed": b'{"title": "a\nb"}',
    "a raw NUL": b'{"title": "a\0b"}',
    "a byte order mark": b'\xef\xbb\xbf{"title": "a"}',
    "UTF-16": '{"title": "a"}'.encode("utf-16"),
    "UTF-32": '{"title": "a"}'.encode("utf-32-le"),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "a form": b"title=a&content=b",
}

# Compared as whole sentences, because the project wrote them.
REFUSED_BODIES = {
    "empty": (b"", "is required"),
    "null": (b"null", "must be an object"),
    "an array": (b"[]", "must be an object"),
    "a text": (b'"title"', "must be an object"),
    "a number": (b"1", "must be an object"),
    "a boolean": (b"true", "must be an object"),
    "Latin-1": ('{"title": "é"}'.encode("latin-1"), "is not UTF-8"),
    "a surrogate in UTF-8": (b'{"title": "\xed\xa0\x80"}', "is not UTF-8"),
    "overlong UTF-8": (b'{"title": "\xc0\x80"}', "is not UTF-8"),
    "too many brackets": (b"[" * 100_000, "is nested too deeply"),
    "too many levels": (b'{"title":' * 5000 + b"1" + b"}" * 5000, "is nested too deeply"),
}


@every_with_body
@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON.keys())
def test_400_for_a_body_that_is_not_json(client, rows, operation, body):
    before = state(client)

    response = send(client, operation, content=body, headers=JSON)

    (detail,) = [detail for _, _, detail in faults(response)]
    assert detail.startswith("is not JSON: ")
    assert len(detail) < 100
    assert_invalid(response, ("body", "", detail))
    assert state(client) == before


@every_with_body
@pytest.mark.parametrize(("body", "detail"), REFUSED_BODIES.values(), ids=REFUSED_BODIES.keys())
def test_400_for_a_body_that_is_not_an_object_in_utf_8(client, rows, operation, body, detail):
    before = state(client)

    response = send(client, operation, content=body, headers=JSON)

    assert_invalid(response, ("body", "", detail))
    assert state(client) == before


@every_with_body
def test_400_without_any_body(client, operation):
    response = client.request(operation.method, operation.url())

    assert_invalid(response, ("body", "", "is required"))


@every_with_body
def test_400_names_the_faults_of_all_parts_in_a_stable_order(client, operation):
    url = operation.url("one")

    answers = [send(client, operation, f"{url}?b&a", content=b"[", headers=JSON) for _ in range(2)]

    assert [fault[:2] for fault in faults(answers[0])] == [
        *(("path", f"/{name}") for name in path_parameters(operation)),
        ("query", "/b"),
        ("query", "/a"),
        ("body", ""),
    ]
    assert answers[0].content == answers[1].content


@every_with_id
def test_400_comes_before_404(client, operation):
    response = send(client, operation, operation.url("999") + "?x=1")

    assert response.status_code == 400


@every
@pytest.mark.parametrize("value", [[FREE_TEXT], {FREE_TEXT: FREE_TEXT}], ids=["an array", "an object"])
def test_400_never_repeats_a_value(client, rows, operation, value):
    url = f"{operation.url(FREE_TEXT)}?limit={FREE_TEXT}&x={FREE_TEXT}"
    body = {"json": dict.fromkeys(body_of(operation), value)} if operation.bodies else {}

    response = send(client, operation, url, **body)

    assert response.status_code == 400
    assert FREE_TEXT not in response.text


@every
def test_400_names_at_most_50_faults_and_64_characters_of_a_name(client, operation):
    query = "&".join(f"{number:04}{'x' * 100}" for number in range(60))

    response = send(client, operation, f"{operation.url()}?{query}")

    assert_invalid(
        response,
        *(("query", f"/{number:04}{'x' * 60}…", "is not a known parameter") for number in range(50)),
    )


@every_with_body
def test_400_is_short_however_long_the_body(client, operation):
    body = {f"{number}{'é/~' * 200}": "x" * 1000 for number in range(500)}

    response = send(client, operation, json=body)

    assert response.status_code == 400
    assert len(response.json()["errors"]) == 50
    assert len(response.content) < 20_000


def faults(response):
    return [(fault["in"], fault["pointer"], fault["detail"]) for fault in response.json()["errors"]]


def state(client):
    """All stored rows."""
    return [client.get(url).json() for url in LISTS]
