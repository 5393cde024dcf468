"""Reverse proxies: which forwarded headers are trusted, and from which peers."""

import asyncio

import pytest
from flask import request

from contractapp.asgi.proxies import trusted_proxies

SENT = [
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "shop.example"),
    ("X-Forwarded-Prefix", "/community/v1"),
]
PEER = ("10.0.0.1", 50000)


@pytest.fixture
def see():
    """The scope that the layer passes to the application."""

    def see(addresses, headers, client=PEER, **scope):
        seen = []

        async def app(scope, receive, send):
            seen.append(scope)

        scope = {
            "type": "http",
            "scheme": "http",
            "path": "/api/users",
            "raw_path": b"/api/users",
            "root_path": "",
            "server": ("127.0.0.1", 8000),
            "headers": [
                (b"host", b"upstream:8000"),
                *((name.lower().encode(), value.encode("latin-1")) for name, value in headers),
            ],
            "client": client,
            **scope,
        }
        before = {**scope, "headers": list(scope["headers"])}

        asyncio.run(trusted_proxies(addresses)(app)(scope, None, None))

        assert scope == before  # set by the server
        return seen[0]

    return see


def host(scope):
    return [value for name, value in scope["headers"] if name == b"host"]


def test_a_trusted_proxy_says_how_the_client_sees_the_service(see):
    scope = see(["10.0.0.1"], SENT)

    assert (scope["scheme"], host(scope), scope["server"]) == ("https", [b"shop.example"], ("shop.example", 443))
    assert scope["client"] == ("203.0.113.7", 0)
    assert scope["root_path"] == "/community/v1"
    assert scope["path"] == "/community/v1/api/users"
    assert scope["raw_path"] == b"/community/v1/api/users"


@pytest.mark.parametrize(
    ("addresses", "client"),
    [
        (["10.0.0.1"], ("10.0.0.2", 50000)),
        (["10.0.0.0/24"], ("10.0.1.0", 50000)),
        (["10.0.0.1"], ("::1", 50000)),
        (["::1"], ("0.0.0.1", 50000)),
        (["10.0.0.1"], ("", 0)),
        (["10.0.0.1"], None),
        (["10.0.0.1"], ("testclient", 50000)),
    ],
)
def test_headers_of_untrusted_peers_are_ignored(see, addresses, client):
    scope = see(addresses, SENT, client)

    assert (scope["scheme"], host(scope), scope["server"]) == ("http", [b"upstream:8000"], ("127.0.0.1", 8000))
    assert (scope["path"], scope["root_path"], scope["client"]) == ("/api/users", "", client)


@pytest.mark.parametrize(
    ("addresses", "client"),
    [
        (["10.0.0.0/24", "::1"], ("10.0.0.255", 50000)),
        (["10.0.0.0/24", "::1"], ("::1", 50000)),
        (["10.0.0.0/24"], ("::ffff:10.0.0.1", 50000)),
        (["fd00::/8"], ("fd00::1", 50000)),
        (["*"], ("192.0.2.1", 50000)),
        (["*"], None),
    ],
)
def test_addresses_networks_and_all_peers_can_be_trusted(see, addresses, client):
    assert see(addresses, SENT, client)["scheme"] == "https"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.9, 203.0.113.7", "203.0.113.7"),  # the client invented the first address
        ("203.0.113.7, 10.0.0.2, 10.0.0.3", "203.0.113.7"),
        ("10.0.0.2, 203.0.113.7, 10.0.0.3", "203.0.113.7"),
        ("10.0.0.2, 10.0.0.3", "10.0.0.2"),  # a client in the network of the proxies
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, unknown, 10.0.0.3", "10.0.0.3"),
        ("unknown", "10.0.0.1"),
        ("<script>", "10.0.0.1"),
        ("", "10.0.0.1"),
        (", ,", "10.0.0.1"),
    ],
)
def test_the_client_is_the_nearest_address_that_is_not_trusted(see, forwarded, client):
    assert see(["10.0.0.0/8"], [("X-Forwarded-For", forwarded)])["client"][0] == client


def test_only_the_last_items_of_a_long_list_are_read(see):
    forwarded = ", ".join(["203.0.113.7", *(f"10.0.{number // 250}.{number % 250}" for number in range(5000))])
    scope = see(["10.0.0.0/8"], [("X-Forwarded-For", forwarded)])

    assert scope["client"] == ("10.0.19.200", 0)


def test_a_list_may_come_in_several_headers(see):
    scope = see(["10.0.0.0/8"], [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-For", "10.0.0.2")])

    assert scope["client"] == ("203.0.113.7", 0)


def test_trusting_all_peers_does_not_trust_forwarded_addresses(see):
    scope = see(["*"], [("X-Forwarded-For", "198.51.100.9, 203.0.113.7"), ("X-Forwarded-Proto", "https, http")])

    assert (scope["client"][0], scope["scheme"]) == ("203.0.113.7", "http")


@pytest.mark.parametrize(
    ("forwarded", "proto", "scheme"),
    [
        (None, "https", "https"),
        (None, "HTTPS", "https"),
        (None, "https, http", "http"),  # one proxy: the client wrote the value before that of the proxy
        ("203.0.113.7, 10.0.0.2", "https, http", "https"),  # two proxies that each append a value
        (
            "203.0.113.7, 10.0.0.2",
            "https",
            "https",
        ),  # two proxies; the nearer passes it on unchanged
        ("203.0.113.7, 10.0.0.2", "ftp, https, http", "https"),
        ("203.0.113.7", "https, http", "http"),
        (None, "ftp", "http"),
        (None, "", "http"),
    ],
)
def test_the_scheme_is_that_of_the_trusted_proxy_nearest_to_the_client(see, forwarded, proto, scheme):
    headers = [("X-Forwarded-Proto", proto), *([("X-Forwarded-For", forwarded)] if forwarded else [])]

    assert see(["10.0.0.0/8"], headers)["scheme"] == scheme


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("shop.example", ("shop.example", 443)),
        ("shop.example:8443", ("shop.example", 8443)),
        ("[2001:db8::7]:8443", ("2001:db8::7", 8443)),
        ("[2001:db8::7]", ("2001:db8::7", 443)),
    ],
)
def test_the_host_may_have_a_port(see, text, server):
    scope = see(["10.0.0.1"], [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", text)])

    assert (host(scope), scope["server"]) == ([text.encode()], server)


@pytest.mark.parametrize("text", ["", "a b", "a/b", "a@b", "a:b", "[a", "a:123456", "é.example", "a\r\nb"])
def test_an_invalid_host_is_ignored(see, text):
    scope = see(["10.0.0.1"], [("X-Forwarded-Host", text)])

    assert (host(scope), scope["server"]) == ([b"upstream:8000"], ("127.0.0.1", 8000))


@pytest.mark.parametrize(
    ("forwarded", "text", "prefix"),
    [
        (None, "/a", "/a"),
        (None, "/a/", "/a"),
        (None, "/a-b_c.d~e/f", "/a-b_c.d~e/f"),
        (None, "/a, /b", "/b"),
        ("203.0.113.7, 10.0.0.2", "/a, /b", "/a/b"),  # two proxies that each remove their part of the path
        (None, "/", ""),
        (None, "", ""),
        (None, "a", ""),
        (None, "//elsewhere.example", ""),
        (None, "/a//b", ""),
        (None, "/..", ""),
        (None, "/a/../b", ""),
        (None, "/a/./b", ""),
        (None, "/%2e%2e", ""),
        (None, "/a?b", ""),
        (None, "/a\r\nb", ""),
        (None, "/a\n", "/a"),  # spaces around a header's value are not part of it
        (None, "https://elsewhere.example", ""),
    ],
)
def test_the_prefix_is_a_plain_path(see, forwarded, text, prefix):
    headers = [("X-Forwarded-Prefix", text), *([("X-Forwarded-For", forwarded)] if forwarded else [])]

    scope = see(["10.0.0.0/8"], headers)

    assert (scope["root_path"], scope["path"]) == (prefix, f"{prefix}/api/users")


def test_the_prefix_is_put_before_the_root_path_of_the_server(see):
    scope = see(["10.0.0.1"], SENT, path="/mounted/api/users", root_path="/mounted", raw_path=None)

    assert (scope["root_path"], scope["path"]) == ("/community/v1/mounted", "/community/v1/mounted/api/users")
    assert scope["raw_path"] is None


def test_the_header_of_rfc_7239_is_not_read(see):
    scope = see(["10.0.0.1"], [("Forwarded", "for=203.0.113.7;proto=https;host=shop.example")])

    assert (scope["scheme"], host(scope), scope["client"]) == ("http", [b"upstream:8000"], PEER)


def test_a_handler_sees_the_client_and_its_address(ask, compiled, contract):
    def seen():
        return [request.url, request.remote_addr, request.script_root, request.path]

    layered = trusted_proxies(["10.0.0.1"])(compiled(contract({"/seen": {"get": {"operationId": "seen"}}}), seen))

    reply = ask(layered, "GET", "/seen?a=1", SENT, client=PEER)

    assert reply.json() == ["https://shop.example/community/v1/seen?a=1", "203.0.113.7", "/community/v1", "/seen"]


def test_stock_connexion_finds_its_paths_with_the_layer(ask, stock, contract):
    def seen():
        return request.url

    layered = trusted_proxies(["10.0.0.1"])(stock(contract({"/seen": {"get": {"operationId": "seen"}}}), seen))

    reply = ask(layered, "GET", "/seen", SENT, client=PEER)

    assert (reply.status, reply.json()) == (200, "https://shop.example/community/v1/seen")


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_scopes_other_than_http_are_passed_on_unchanged(kind):
    seen = []

    async def app(*call):
        seen.append(call)

    scope, receive, send = {"type": kind, "client": PEER, "headers": [(b"x-forwarded-proto", b"https")]}, object(), 1

    asyncio.run(trusted_proxies(["*"])(app)(scope, receive, send))

    assert seen[0][0] is scope
    assert seen == [(scope, receive, send)]
