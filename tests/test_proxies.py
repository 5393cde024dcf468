"""Reverse proxies: which proxies and which headers the application trusts."""

import pytest

from api.config import ConfigurationError
from tests.applications import application

SENT = [
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "shop.example"),
    ("X-Forwarded-Prefix", "/community/v1"),
]
JSON = ("Content-Type", "application/json")
PEER = ("10.0.0.1", 50000)


@pytest.fixture(scope="module")
def behind(database_url):
    """Requests to an application that trusts proxies of two networks, on the run's database."""
    proxies = "10.0.0.0/8, fd00::1"
    with application(SQLALCHEMY_DATABASE_URI=database_url, API_TRUSTED_PROXIES=proxies) as app:
        yield app


@pytest.fixture(autouse=True)
def _empty(empty):
    empty()


def test_answers_lead_back_through_the_proxy(behind, ask):
    body = b'{"username": "%s", "email": "%s@example.com"}'

    created = [
        ask(behind, "POST", "/api/users", [*SENT, JSON], body % (name, name), client=PEER) for name in (b"a", b"b")
    ]
    page = ask(behind, "GET", "/api/users?limit=1", SENT, client=PEER)
    served = ask(behind, "GET", "/api/openapi.json", SENT, client=PEER)
    landing = ask(behind, "GET", "/", SENT, client=PEER)
    interface = ask(behind, "GET", "/api/ui", SENT, client=PEER)

    assert [reply.header("location") for reply in created] == [f"/community/v1/api/users/{n}" for n in (1, 2)]
    assert page.header("link").startswith("</community/v1/api/users?limit=1&cursor=")
    assert served.json()["servers"] == [{"url": "/community/v1/api"}]
    assert landing.header("location") == interface.header("location") == "/community/v1/api/ui/"


@pytest.mark.parametrize("prefix", ["/api", "/api/users"])
def test_a_prefix_that_looks_like_a_path_of_the_api_is_removed_once(behind, ask, prefix):
    headers = [("X-Forwarded-Prefix", prefix)]

    listed = ask(behind, "GET", "/api/users", headers, client=PEER)
    unknown = ask(behind, "GET", "/users", headers, client=PEER)

    assert (listed.status, unknown.status) == (200, 404)


@pytest.mark.parametrize("setting", [{}, {"API_TRUSTED_PROXIES": "10.0.0.1"}])
def test_without_the_setting_no_proxy_is_trusted(ask, database_url, setting):
    with application(SQLALCHEMY_DATABASE_URI=database_url, **setting) as app:
        created = ask(app, "POST", "/api/users", [*SENT, JSON], b'{"username": "a", "email": "a@b.example"}')
        served = ask(app, "GET", "/api/openapi.json", SENT)

    assert created.header("location") == "/api/users/1"
    assert served.json()["servers"] == [{"url": "/api"}]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("proxy.example", "'proxy.example' is neither an address nor a network such as 10.0.0.0/8"),
        ("10.0.0.1:80", "'10.0.0.1:80' is neither an address nor a network such as 10.0.0.0/8"),
        ("10.0.0.1/8", "'10.0.0.1/8' is neither an address nor a network such as 10.0.0.0/8"),
    ],
)
def test_a_proxy_that_is_neither_address_nor_network_stops_the_start(address, reason):
    with (
        pytest.raises(ConfigurationError) as refusal,
        application(SQLALCHEMY_DATABASE_URI="sqlite://", API_TRUSTED_PROXIES=["10.0.0.1", address]),
    ):
        pass

    assert str(refusal.value) == f"API_TRUSTED_PROXIES: {reason}"
