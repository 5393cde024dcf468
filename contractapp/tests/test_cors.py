"""Cross-origin requests: what pages of other origins may send and read."""

import asyncio

import pytest

from contractapp.asgi.cors import cors

HERE = ("Origin", "https://app.example")


@pytest.mark.filterwarnings("ignore")  # the handler's own
def test_a_page_of_a_listed_origin_may_read_a_500(ask, compiled, contract):
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
def test_only_origins_as_browsers_send_them_are_accepted(ask, compiled, contract, origin):
    def a():
        return "a"

    layered = cors([origin])(compiled(contract({"/a": {"get": {"operationId": "a"}}}), a))

    assert ask(layered, "GET", "/a", [("Origin", origin)]).header("access-control-allow-origin") == origin


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_scopes_other_than_http_are_passed_on_unchanged(kind):
    seen = []

    async def app(*call):
        seen.append(call)

    scope, receive, send = {"type": kind, "headers": [(b"origin", b"https://app.example")]}, object(), object()

    asyncio.run(cors(["https://app.example"])(app)(scope, receive, send))

    assert seen == [(scope, receive, send)]
    assert seen[0][0] is scope
