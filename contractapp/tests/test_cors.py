"""Cross-origin requests: what pages of other sites may send and read."""

import asyncio

import pytest

from contractapp.asgi.cors import cors

HERE = ("Origin", "https://app.example")


@pytest.mark.filterwarnings("ignore")  # the handler's own
def test_a_listed_page_may_read_an_unforeseen_failure(ask, compiled, contract):
    def fails():
        raise RuntimeError("unforeseen")

    document = contract({"/fails": {"get": {"operationId": "fails"}}})
    app = compiled(document, fails)
    layered = cors(["https://app.example"])(app)

    reply = ask(layered, "GET", "/fails", [HERE])

    assert (reply.status, reply.json()["status"]) == (500, 500)
    assert reply.header("access-control-allow-origin") == "https://app.example"


@pytest.mark.parametrize(
    "origin", ["https://app.example", "http://localhost:3000", "http://[::1]:8080", "chrome-extension://abcdef"]
)
def test_what_browsers_send_is_an_origin(ask, compiled, contract, origin):
    def a():
        return "a"

    layered = cors([origin])(compiled(contract({"/a": {"get": {"operationId": "a"}}}), a))

    assert ask(layered, "GET", "/a", [("Origin", origin)]).header("access-control-allow-origin") == origin


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_what_is_not_http_passes_as_it_is(kind):
    seen = []

    async def app(*call):
        seen.append(call)

    scope, receive, send = {"type": kind, "headers": [(b"origin", b"https://app.example")]}, object(), object()

    asyncio.run(cors(["https://app.example"])(app)(scope, receive, send))

    assert seen == [(scope, receive, send)]
    assert seen[0][0] is scope
