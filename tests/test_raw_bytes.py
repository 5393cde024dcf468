"""Requests that stock Connexion handles wrongly, sent as raw bytes: through ASGI, and to `api serve` over a socket.

A client library would correct these requests before sending them.
"""

import gzip
import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest

JSON = ("Content-Type", "application/json")
MIB = 1024 * 1024
PROBLEM = "application/problem+json"
NOT_A_LINE = "must not contain control characters, or begin or end with a space or no-break space"
# The server's timeout for a body.
TIMEOUT_SECONDS = 1.0

_numbers = count(1)


def user(**changes: object) -> bytes:
    """The JSON of a user that no other test creates."""
    name = f"raw{os.getpid()}-{next(_numbers)}"
    return orjson.dumps({"username": name, "email": f"{name}@example.com", **changes})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def port(tmp_path_factory) -> Iterator[int]:
    """The port of `api serve`, started once."""
    number = free_port()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("API_")},
        "DATABASE_URL": f"sqlite:///{tmp_path_factory.mktemp('served')}/app.db",
        "API_REQUEST_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
        "API_LOG_LEVEL": "critical",
        "PYTHONPATH": str(Path.cwd()),
    }
    command = [sys.executable, "-m", "api", "serve", "--port", str(number)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    wait_for(number, process)

    yield number

    process.terminate()
    assert process.wait(10) == 0


def wait_for(port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, "The server ended."
        time.sleep(0.05)
    pytest.fail("The server does not listen.")


@pytest.fixture(params=["in process", "served"])
def wire(request, ask, reply_type) -> Callable[..., Any]:
    """Sends a request and returns its reply: by the ASGI interface, or over a socket."""
    if request.param == "in process":
        app = request.getfixturevalue("app")
        return lambda *arguments: ask(app, *arguments)
    port = request.getfixturevalue("port")

    def send(method, target, headers=(), body=b""):
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            with suppress(ConnectionError):  # refused before the end of the body
                connection.sendall(request_bytes(method, target, headers, body))
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            content = response.read()
            raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.getheaders()]
        return reply_type(response.status, raw, content)

    return send


def request_bytes(method, target, headers=(), body=b"") -> bytes:
    """The bytes of a request; a list as the body is sent in chunks."""
    head = as_bytes(method) + b" " + as_bytes(target) + b" HTTP/1.1\r\nHost: test\r\n"
    for name, value in headers:
        head += as_bytes(name) + b": " + as_bytes(value) + b"\r\n"
    if isinstance(body, list):
        content = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in body if chunk)
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + content + b"0\r\n\r\n"
    if body:
        head += b"Content-Length: %d\r\n" % len(body)
    return head + b"\r\n" + body


def as_bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


# Requests that must be accepted


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ;\t charset=utf8",
        "application/json; version=1",
    ],
)
def test_201_however_the_media_type_is_written(wire, content_type):
    reply = wire("POST", "/api/users", [("Content-Type", content_type)], user())

    assert reply.status == 201


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_201_for_a_body_in_chunks(wire, size):
    body = user()
    reply = wire("POST", "/api/users", [JSON], [body[start : start + size] for start in range(0, len(body), size)])

    assert reply.status == 201
    assert reply.json().items() >= orjson.loads(body).items()


def test_201_for_a_body_under_an_upgrade_to_h2c(wire):
    headers = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        JSON,
    ]
    body = user()
    reply = wire("POST", "/api/users", headers, body)

    assert reply.status == 201
    assert reply.json().items() >= orjson.loads(body).items()


def test_201_for_a_content_coding_that_changes_nothing(wire):
    reply = wire("POST", "/api/users", [JSON, ("Content-Encoding", "identity")], user())

    assert reply.status == 201


def test_201_for_the_longest_text_fully_escaped(wire):
    """Twelve bytes for each character, which must fit into the limit of 1 MiB."""
    author = wire("POST", "/api/users", [JSON], user()).json()["id"]
    body = b'{"title": "t", "user_id": %d, "content": "%b"}' % (author, rb"\ud83d\ude00" * 65_536)
    reply = wire("POST", "/api/posts", [JSON], body)

    assert reply.status == 201
    assert reply.json()["content"] == "\N{GRINNING FACE}" * 65_536


@pytest.mark.parametrize(
    "target", ["/api/users", "/api/health/live", "/api/openapi.json", "/api/openapi.yaml", "/api/ui/"]
)
def test_head_answers_what_get_does_without_its_body(wire, target):
    get, head = wire("GET", target), wire("HEAD", target)

    assert head.status == get.status == 200
    assert head.body == b""
    assert dict(head.headers) | {b"date": b""} == dict(get.headers) | {b"date": b""}


def test_204_for_options_has_no_content_type(wire):
    reply = wire("OPTIONS", "/api/users/1")

    assert (reply.status, reply.body) == (204, b"")
    assert reply.header("allow") == "DELETE, GET, HEAD, OPTIONS, PUT"
    assert reply.header("content-type") is None


# Requests that must be refused

DEEP = b"[" * 100_000
LONG_INTEGER = b"9" * 5_000


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", ("body", "", "is required")),
        (b"{", ("body", "", "is not JSON: Input data was truncated")),
        (b"none", ("body", "", "is not JSON: invalid character (byte 4)")),
        (b"{} x", ("body", "", "is not JSON: trailing characters (byte 4)")),
        (b"[]", ("body", "", "must be an object")),
        (b'{"username": "\xff", "email": "a@b.de"}', ("body", "", "is not UTF-8")),
        ('{"username": "é"}'.encode("utf-16"), ("body", "", "is not JSON: invalid character (byte 0)")),
        (b"\xef\xbb\xbf{}", ("body", "", "is not JSON: invalid character (byte 0)")),
        (gzip.compress(b"{}", mtime=0), ("body", "", "is not JSON: invalid character (byte 0)")),
        (DEEP, ("body", "", "is nested too deeply")),
        (b'{"username": ' + DEEP, ("body", "", "is nested too deeply")),
        (b'{"username": NaN}', ("body", "", "is not JSON: invalid character (byte 13)")),
        (b'{"username": -Infinity}', ("body", "", "is not JSON: invalid character (byte 14)")),
        (b'{"username": 1e400}', ("body", "", "is not JSON: Number out of range")),
        (b'{"username": %b}' % LONG_INTEGER, ("body", "", "is not JSON: Integer value out of range")),
        (
            rb'{"username": "\ud800", "email": "a@b.de"}',
            ("body", "", "is not JSON: unexpected end of escaped utf-16 surrogate pair (byte 20)"),
        ),
        (
            rb'{"username": "a\u0000", "email": "a@b.de"}',
            ("body", "/username", NOT_A_LINE),
        ),
        (
            rb'{"username": "a\n", "email": "a@b.de"}',
            ("body", "/username", NOT_A_LINE),
        ),
        (b'{"username": "a", "email": "@"}', ("body", "/email", "must be an e-mail address")),
        (b'{"username": "a", "email": "a@b.de\\n"}', ("body", "/email", "must be an e-mail address")),
        (b'{"username": 5, "email": "a@b.de"}', ("body", "/username", "must be a string")),
        (b'{"username": "a", "email": "a@b.de", "id": 1}', ("body", "/id", "is not a known member")),
    ],
)
def test_400_for_a_body_that_is_not_a_user(wire, body, fault):
    reply = wire("POST", "/api/users", [JSON], body)

    assert (reply.status, reply.header("content-type")) == (400, PROBLEM)
    assert reply.faults == [fault]


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("+1", "must be an integer"),
        ("01", "must be an integer"),
        ("1_0", "must be an integer"),
        ("%201", "must be an integer"),
        ("1%20", "must be an integer"),
        ("1%0A", "must be an integer"),
        ("%D9%A1", "must be an integer"),
        ("%EF%BC%91", "must be an integer"),
        ("%00", "must be an integer"),
        ("%ff", "must be an integer"),
        ("1.0", "must be an integer"),
        ("1e0", "must be an integer"),
        ("0x1", "must be an integer"),
        ("9" * 5_000, "must be an integer"),
        ("0", "must be at least 1"),
        ("-0", "must be at least 1"),
        ("-1", "must be at least 1"),
        (str(2**53), f"must be at most {2**53 - 1}"),
        ("9" * 400, f"must be at most {2**53 - 1}"),
    ],
)
def test_400_for_a_number_that_is_not_plain_digits(wire, text, detail):
    path = wire("GET", f"/api/users/{text}")
    query = wire("GET", f"/api/posts?user_id={text.replace('+', '%2B')}")

    assert (path.status, path.faults) == (400, [("path", "/user_id", detail)])
    expected = "is not UTF-8" if text == "%ff" else detail
    assert (query.status, query.faults) == (400, [("query", "/user_id", expected)])


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ("limit=1&limit=1", [("query", "/limit", "is given more than once")]),
        ("limit=1&%6cimit=2", [("query", "/limit", "is given more than once")]),
        ("limit=", [("query", "/limit", "must be an integer")]),
        ("limit", [("query", "/limit", "must be an integer")]),
        ("limit=+1", [("query", "/limit", "must be an integer")]),
        ("Limit=1", [("query", "/Limit", "is not a known parameter")]),
        ("a=1&b=2", [("query", "/a", "is not a known parameter"), ("query", "/b", "is not a known parameter")]),
        ("%ff=1", [("query", "", "has a parameter name that is not UTF-8")]),
        ("%ED%A0%80=1", [("query", "", "has a parameter name that is not UTF-8")]),
        ("limit=1;cursor=2", [("query", "/limit", "must be an integer")]),
        ("limit=%5F", [("query", "/limit", "must be an integer")]),
        ("a" * 3000 + "=1", [("query", "/" + "a" * 64 + "…", "is not a known parameter")]),
    ],
)
def test_400_for_a_query_that_the_contract_does_not_know(wire, query, faults):
    reply = wire("GET", f"/api/users?{query}")

    assert (reply.status, reply.faults) == (400, faults)


@pytest.mark.parametrize(
    "target",
    [
        "//",
        "//api/users",
        "/api//users",
        "/api/users/",
        "/api/users//1",
        "/api/users/1/",
        "/api/../api/users",
        "/API/users",
        "/nothing",
        "/api/%2e",
    ],
)
def test_404_for_every_other_path_and_never_a_redirect(wire, target):
    reply = wire("GET", target)

    assert (reply.status, reply.header("content-type"), reply.header("location")) == (404, PROBLEM, None)
    assert reply.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is nothing at this path.",
        "error": "There is nothing at this path.",
    }


@pytest.mark.parametrize("method", ["PATCH", "TRACE"])
def test_405_lists_every_method_of_the_path(wire, method):
    reply = wire(method, "/api/users/1")

    assert (reply.status, reply.header("content-type")) == (405, PROBLEM)
    assert reply.header("allow") == "DELETE, GET, HEAD, OPTIONS, PUT"


@pytest.mark.parametrize("method", ["BREW", "get"])
def test_405_or_501_for_an_unknown_method(app, ask, port, method):
    """RFC 9110, section 9.1: the server's parser answers 501, the application 405."""
    received = talk(port, request_bytes(method, "/api/users/1"))

    assert ask(app, method, "/api/users/1").status == 405
    assert statuses(received) == [501]
    assert b"content-type: application/problem+json" in received


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Content-Type", "")],
        [("Content-Type", "text/plain")],
        [("Content-Type", "application")],
        [("Content-Type", "application/problem+json")],
        [("Content-Type", "application/json, application/json")],
        [JSON, JSON],
        [("Content-Type", "application/json; charset=latin-1")],
        [("Content-Type", "application/json; charset=utf-16")],
        [("Content-Type", "application/json; charset=nonsense")],
        [("Content-Type", 'application/json; charset="utf\\-16"')],
        [("Content-Type", b"application/json; charset=\xff")],
        [JSON, ("Content-Encoding", "gzip")],
        [JSON, ("Content-Encoding", "identity"), ("Content-Encoding", "br")],
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_415_for_a_body_in_another_form(wire, headers, chunked):
    body = user()
    reply = wire("POST", "/api/users", headers, [body] if chunked else body)

    assert (reply.status, reply.header("content-type")) == (415, PROBLEM)


def test_413_for_an_announced_length_over_the_limit(wire):
    reply = wire("POST", "/api/users", [JSON], b"x" * (MIB + 1))

    assert (reply.status, reply.header("content-type")) == (413, PROBLEM)
    assert reply.json()["detail"] == "The request body is over the limit of 1048576 bytes."


def test_413_for_chunks_over_the_limit(wire):
    reply = wire("POST", "/api/users", [JSON], [b"x" * 65_536] * 17)

    assert (reply.status, reply.header("content-type")) == (413, PROBLEM)


def test_a_body_at_the_limit_is_read(wire):
    body = user()
    reply = wire("POST", "/api/users", [JSON], body + b" " * (MIB - len(body)))

    assert reply.status == 201


@pytest.mark.parametrize(
    "body",
    [
        b'{"username": "%b", "email": "%b"}' % (b"x" * 400_000, b"y" * 400_000),
        b"{" + b", ".join(b'"member %06d": 0' % number for number in range(40_000)) + b"}",
        b'{"%b": 1}' % (b"n" * 1_000_000),
        b"[" * 1_000_000,
        b"x" * 10 * MIB,
    ],
)
def test_an_answer_is_small_however_large_the_request(wire, body):
    reply = wire("POST", "/api/users", [JSON], body)

    assert reply.status in {400, 413}
    assert len(reply.body) < 8_192


def test_at_most_fifty_faults_are_named(wire):
    reply = wire("POST", "/api/users", [JSON], orjson.dumps({f"member {number:03}": 0 for number in range(60)}))

    assert len(reply.faults) == 50


def test_two_same_requests_get_the_same_refusal(wire):
    body = orjson.dumps({"z": 1, "username": "", "a": 2, "email": 5})
    first, second = (wire("POST", "/api/users?b=1&a=2", [JSON], body) for _ in range(2))

    assert first.body == second.body
    assert first.faults == [
        ("query", "/b", "is not a known parameter"),
        ("query", "/a", "is not a known parameter"),
        ("body", "/a", "is not a known member"),
        ("body", "/email", "must be a string"),
        ("body", "/username", "must have at least 1 character"),
        ("body", "/z", "is not a known member"),
    ]


# Tests that need a socket


def talk(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send these bytes; everything that the server sends until it closes the connection or stops sending."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        for part in parts:
            with suppress(OSError):  # the server may have closed the connection already
                connection.sendall(part)
            time.sleep(pause)
        connection.settimeout(0.3)
        return receive_all(connection)


def receive_all(connection: socket.socket) -> bytes:
    received = b""
    with suppress(TimeoutError, ConnectionError):
        while part := connection.recv(65_536):
            received += part
    return received


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


HEAD = b"POST /api/users HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
SMUGGLED = b"GET /api/health/live HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="a length and chunks"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", id="chunks and a length"),
        pytest.param(b"Content-Length: 2\r\nContent-Length: 4\r\n\r\n{}  ", id="two lengths"),
        pytest.param(b"Content-Length: 2, 4\r\n\r\n{}  ", id="a list of lengths"),
        pytest.param(b"Content-Length: +2\r\n\r\n{}", id="a signed length"),
        pytest.param(b"Content-Length: -2\r\n\r\n{}", id="a negative length"),
        pytest.param(b"Content-Length: 0x2\r\n\r\n{}", id="a hexadecimal length"),
        pytest.param(b"Content-Length: 2_0\r\n\r\n{}", id="a length with an underscore"),
        pytest.param(b"Content-Length: \r\n\r\n{}", id="an empty length"),
        pytest.param(b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}", id="a length of 5,000 digits"),
        pytest.param(b"Content-Length : 2\r\n\r\n{}", id="a blank before the colon"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", id="a chunk of no size"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n", id="a signed chunk size"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n", id="a prefixed chunk size"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff2\r\n{}\r\n0\r\n\r\n", id="a huge chunk size"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n3\r\n{}\r\n0\r\n\r\n", id="a chunk longer than its size"),
        pytest.param(b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", id="an unknown coding"),
        pytest.param(b"Transfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n", id="chunked not last"),
        pytest.param(b"Transfer-Encoding:\x0bchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", id="a vertical tab"),
        pytest.param(b"Content-Length: 2\r\nX: a\0b\r\n\r\n{}", id="NUL in a header"),
        pytest.param(b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", id="a folded header"),
        pytest.param(b" Content-Length: 2\r\n\r\n{}", id="a blank before a name"),
    ],
)
def test_bad_framing_gets_at_most_one_response_and_what_follows_gets_none(port, framing):
    received = talk(port, HEAD + framing + SMUGGLED)

    # `{}` is not a user, so a smuggled request that was parsed gets a 400 as well.
    assert set(statuses(received)) <= {400, 415}
    assert len(statuses(received)) <= 1
    assert b'"ok"' not in received


def test_bytes_after_a_complete_request_are_answered_in_order(port):
    received = talk(port, HEAD + b"Content-Length: 2\r\n\r\n{}" + SMUGGLED, pause=0.2)

    assert statuses(received) == [400, 200]


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_413_reaches_a_client_that_keeps_sending(port, framing):
    head = HEAD + (b"Content-Length: 8000000\r\n\r\n" if framing == "length" else b"Transfer-Encoding: chunked\r\n\r\n")
    part = b"x" * 65_536 if framing == "length" else b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(head)
        with suppress(OSError):
            for _ in range(8_000_000 // 65_536):
                connection.sendall(part)
        received = receive_all(connection)

    assert statuses(received) == [413]


def test_bytes_that_are_not_http_get_a_problem(port):
    received = talk(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")

    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert orjson.loads(body)["errors"] == [{"in": "header", "pointer": "", "detail": "is not HTTP/1.1"}]


@pytest.mark.parametrize(
    ("behind", "answers"),
    [
        pytest.param(b"NONSENSE\r\n\r\n", [201, 201], id="no request"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", [], id="a chunk of no size"),
    ],
)
def test_a_refusal_does_not_overtake_the_answer_before_it(port, behind, answers):
    """Two requests and invalid bytes in one packet: the 400 must not arrive as the response to the first request."""
    creates = [request_bytes("POST", "/api/users", [JSON], user()) for _ in range(2)]

    received = talk(port, b"".join(creates) + behind)

    assert statuses(received) == answers


def test_a_tunnel_is_refused(port):
    assert statuses(talk(port, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")) == [501]


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: b\r\n", b"Host: a\r\nhost: a\r\n"])
def test_a_request_names_one_host(port, hosts):
    received = talk(port, b"GET /api/health/live HTTP/1.1\r\n" + hosts + b"\r\n" + SMUGGLED)

    assert statuses(received) == [400]


def test_an_http_1_0_client_need_not_send_host(port):
    assert statuses(talk(port, b"GET /api/health/live HTTP/1.0\r\n\r\n")) == [200]


@pytest.mark.parametrize("version", ["0.9", "2.0"])
def test_other_versions_are_refused(port, version):
    received = talk(port, f"GET /api/health/live HTTP/{version}\r\nHost: a\r\n\r\n".encode())

    assert set(statuses(received)) <= {400}
    assert b'"ok"' not in received


def test_a_request_that_began_before_the_last_answer_has_its_own_time(port):
    """Its first bytes arrive with the previous request, its body long after the timeout of an idle connection (5 s)."""
    body = user()
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"GET /api/users?limit=1 HTTP/1.1\r\nHost: test\r\n\r\n" + head[:9])
        first = connection.recv(65_536)
        connection.sendall(head[9:] + body)
        connection.settimeout(1)
        rest = receive_all(connection)

    assert (statuses(first), statuses(rest)) == ([200], [201])


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"X: " + b"x" * 1_000_000, id="a long header"),
        pytest.param(b"X: x\r\n" * 100_000, id="many headers"),
        pytest.param(b"X: x\r\n" * 101, id="more headers than anybody needs"),
    ],
)
def test_the_size_of_a_request_head_is_limited(port, head):
    received = talk(port, b"GET /api/users HTTP/1.1\r\nHost: test\r\n" + head + b"\r\n\r\n" + SMUGGLED)

    assert set(statuses(received)) <= {400, 431}
    assert b'"ok"' not in received


def test_a_large_body_before_the_next_head_is_not_taken_for_it(port):
    large = orjson.dumps({"username": "x" * 150_000, "email": "a@example.com"})
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(request_bytes("POST", "/api/users", [JSON], large) + SMUGGLED[:20])
        time.sleep(0.2)
        connection.sendall(SMUGGLED[20:])
        received = receive_all(connection)

    assert statuses(received) == [400, 200]


def test_pipelining_without_end_is_cut_off(port):
    received = talk(port, b"GET /api/users HTTP/1.1\r\nHost: test\r\n\r\n" * 2_000, pause=0.5)

    assert len(statuses(received)) < 2_000


def test_pipelined_offers_are_all_declined(port):
    one = b"GET /api/health/live HTTP/1.1\r\nHost: test\r\n" + OFFER % b"" + b"\r\n"

    assert statuses(talk(port, one * 50, pause=0.5)) == [200] * 50


def test_a_body_that_breaks_after_its_refusal_gets_no_second_answer(port):
    head = b"POST /api/users HTTP/1.1\r\nHost: test\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert statuses(talk(port, head, b"ZZZ\r\n", pause=0.3)) == [415]


def test_an_answer_instead_of_100_continue_ends_the_connection(port):
    received = talk(port, HEAD + b"Expect: 100-continue\r\nContent-Length: 8000000\r\n\r\n", SMUGGLED, pause=0.3)

    assert statuses(received) == [413]
    assert b"connection: close" in received.lower()


def test_100_continue_accepts_the_body_and_keeps_the_connection_open(port):
    body = user()
    expecting = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)

    assert statuses(talk(port, expecting, body + SMUGGLED, pause=0.3)) == [100, 201, 200]


def test_an_http_1_0_client_gets_no_100_continue(port):
    body = user()
    head = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)

    assert statuses(talk(port, head + body)) == [201]


def test_a_client_that_closed_its_sending_side_is_answered(port):
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"GET /api/users HTTP/1.1\r\nHost: test\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        received = receive_all(connection)

    assert statuses(received) == [200]


def test_a_refused_body_that_arrives_slowly_is_read_to_its_end(port):
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(HEAD + b"Content-Length: 1200000\r\n\r\n")
        for _ in range(12):
            connection.sendall(b"x" * 100_000)
            time.sleep(0.05)
        received = receive_all(connection)

    assert statuses(received) == [413]


def test_blank_lines_do_not_hold_a_connection(port):
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 5) as connection, suppress(ConnectionError):
        while time.monotonic() - began < TIMEOUT_SECONDS + 3:
            connection.sendall(b"\r\n")
            time.sleep(0.1)
    waited = time.monotonic() - began

    assert waited < TIMEOUT_SECONDS + 2


OFFER = b"Connection: Upgrade, HTTP2-Settings%b\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA\r\n"


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("pieces", [1, 2, 7, 10_000])
def test_an_offer_of_another_protocol_is_declined_and_the_body_kept(port, framing, pieces):
    """Java's HttpClient offers HTTP/2 like this in the first request of a connection; another request follows."""
    body = user()
    sent = request_bytes("POST", "/api/users", [JSON], body if framing == "length" else [body[:9], body[9:]])
    sent = sent.replace(b"\r\n", b"\r\n" + OFFER % b"", 1) + SMUGGLED
    size = max(len(sent) // pieces, 1)

    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), size):
            connection.sendall(sent[start : start + size])
        connection.settimeout(1)
        received = receive_all(connection)

    assert statuses(received) == [201, 200]


def test_an_upgrade_offer_with_connection_close_still_closes(port):
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"GET /api/health/live HTTP/1.1\r\nHost: test\r\n" + OFFER % b", close" + b"\r\n")
        received = receive_all(connection)

    assert statuses(received) == [200]
    assert b"connection: close" in received


def test_413_reaches_a_client_that_waits_for_100_continue(port):
    received = talk(port, HEAD + b"Expect: 100-continue\r\nContent-Length: 8000000\r\n\r\n")

    assert statuses(received) == [413]


def test_408_for_a_body_that_does_not_arrive(port):
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(HEAD + b'Content-Length: 20\r\n\r\n{"user')
        received = receive_all(connection)

    assert statuses(received) == [408]
    assert b"The request body did not arrive in time." in received


def test_slow_bodies_do_not_delay_other_requests(port):
    slow = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(50)]
    try:
        for connection in slow:
            connection.sendall(HEAD + b"Content-Length: 20\r\n\r\n{")
        received = talk(port, b"GET /api/users HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    finally:
        for connection in slow:
            connection.close()

    assert statuses(received) == [200]


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n64\r\n"])
def test_a_client_that_vanishes_midway_stores_nothing(port, framing):
    body = user()
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(HEAD + framing + body[:-1])
    time.sleep(0.1)
    again = talk(port, request_bytes("POST", "/api/users", [JSON, ("Connection", "close")], body))

    assert statuses(again) == [201]


def test_a_disconnect_before_the_body_ends_is_not_taken_for_its_end(app, ask):
    body = user()
    messages = [body, {"type": "http.disconnect"}]
    reply = ask(app, "POST", "/api/users", [JSON], messages)

    assert (reply.status, reply.faults) == (400, [("body", "", "did not arrive whole")])


def test_415_for_a_body_that_no_header_announces(app, ask):
    """Like HTTP/2, which needs neither length nor chunks: the body must be checked all the same."""
    reply = ask(app, "POST", "/api/users", [], [b'{"username": 5}'], announced=False)

    assert reply.status == 415
