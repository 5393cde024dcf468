"""Every example of the contract is valid, and is sent or received for real."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from api import create_app, database
from contractapp.testing.ledger import METHODS, Contract, faults_of

CONTRACT = Contract(yaml.safe_load(Path("openapi/openapi.yaml").read_text()), "/api")
OPERATIONS = {
    item[method]["operationId"]: (method, path, item[method])
    for path, item in CONTRACT.paths.items()
    for method in METHODS
    if method in item
}
TESTUSER = {"username": "testuser1", "email": "test1@example.com"}


def values_of(holder):
    """The examples of a media type, parameter or header, by name."""
    named = {name: CONTRACT.resolve(example)["value"] for name, example in holder.get("examples", {}).items()}
    return named | ({"example": holder["example"]} if "example" in holder else {})


def examples_in(value, place="#"):
    """Every (place, schema, example) in the document."""
    if isinstance(value, dict):
        schema = CONTRACT.resolve(value.get("schema", value))
        if "schema" in value or "type" in value:
            yield from ((f"{place}/{name}", schema, example) for name, example in values_of(value).items())
        for key, member in value.items():
            if key not in {"example", "examples"}:
                yield from examples_in(member, f"{place}/{key}")
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from examples_in(member, f"{place}/{index}")


def body_examples(name):
    content = OPERATIONS[name][2].get("requestBody", {}).get("content", {})
    return values_of(content["application/json"]) if content else {}


def requests_shown():
    return [(name, key) for name in OPERATIONS for key in body_examples(name)]


def responses_shown():
    return [
        (name, status, key)
        for name, (_, _, operation) in OPERATIONS.items()
        for status, response in operation["responses"].items()
        for media in response["content"].values()
        for key in values_of(media)
    ]


def shown(name, status, key):
    (media,) = OPERATIONS[name][2]["responses"][status]["content"].values()
    return values_of(media)[key]


@pytest.fixture
def send(client):
    """Sends an operation's request: by itself about the first user or post, with the first example as its body."""

    def send(name, sender=client, ident="1", **overrides):
        method, path, _ = OPERATIONS[name]
        bodies = body_examples(name)
        body = {"json": next(iter(bodies.values()))} if bodies and "content" not in overrides else {}
        options = body | overrides
        path = path.replace("{user_id}", ident).replace("{post_id}", ident)
        return sender.request(options.pop("method", method.upper()), f"/api{path}", **options)

    return send


@pytest.fixture
def stored(make_user, make_post):
    """What stands in the tables in the contract's examples, as far as an operation needs it."""

    def stored(name):
        if name not in {"create_user", "get_liveness", "get_readiness"}:
            make_user(**TESTUSER)
        if name in {"get_post", "update_post", "delete_post"}:
            make_post(title="First Post", content="Content 1", user_id=1)

    return stored


@pytest.fixture
def failing():
    """An application in which a function of Flask's fails before every request."""
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": "sqlite://"})

    def fail():
        raise RuntimeError("unforeseen")

    app.app.before_request(fail)
    yield app.test_client(raise_server_exceptions=False)
    database.dispose(app.app)


@pytest.fixture
def cut_off():
    """An application whose database is out of reach."""
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": "postgresql://nobody@127.0.0.1:1/nothing"})
    yield app.test_client()
    database.dispose(app.app)


@pytest.fixture
def impatient():
    """The answer to a request whose body never comes."""
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": "sqlite://", "API_REQUEST_TIMEOUT_SECONDS": 0.1})
    yield lambda name: asyncio.run(_answer_without_body(app, name))
    database.dispose(app.app)


async def _answer_without_body(app, name):
    method, path, _ = OPERATIONS[name]
    messages = []

    async def send(message):
        messages.append(message)

    path = f"/api{path}".replace("{user_id}", "1").replace("{post_id}", "1")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method.upper(),
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"content-type", b"application/json"), (b"content-length", b"2")],
        "server": ("testserver", 80),
        "client": ("testclient", 1),
    }
    await app(scope, asyncio.Event().wait, send)
    return messages[0]["status"], json.loads(messages[1]["body"])


def test_every_example_is_valid():
    faults = {place: list(faults_of(schema, example)) for place, schema, example in examples_in(CONTRACT.document)}

    assert len(faults) > 80
    assert {place: found for place, found in faults.items() if found} == {}


@pytest.mark.parametrize(("name", "key"), requests_shown())
def test_a_request_shown_succeeds(name, key, send, stored):
    stored(name)
    body = body_examples(name)[key]

    response = send(name, json=body)

    assert str(response.status_code) == next(iter(OPERATIONS[name][2]["responses"]))
    assert body.items() <= response.json().items()


# What is sent to receive a response example, by its name; the tables hold what `STORED` says, else nothing.
REQUESTS = {
    "invalid_id": {"ident": "one"},
    "invalid_limit": {"params": {"limit": 101}},
    "invalid_cursor": {"params": {"cursor": "MjA"}},
    "unknown_parameter": {"params": {"verbose": 1}},
    "method_not_allowed": {"method": "PATCH"},
    "content_too_large": {"content": b" " * (2**20 + 1), "headers": {"Content-Type": "application/json"}},
    "unsupported_media_type": {"content": b"a", "headers": {"Content-Type": "text/plain"}},
}
INVALID_BODIES = {
    "create_user": {"username": "x" * 81},
    "update_user": {"email": "none", "nickname": "x"},
    "create_post": {"title": "Test Post", "user_id": "one"},
    "update_post": {"title": "x" * 101, "user_id": 1},
}
TWO_USERS = [TESTUSER, {"username": "testuser2", "email": "test2@example.com"}]
ONE_POST = [{"title": "First Post", "content": "Content 1", "user_id": 1}]
TWO_POSTS = [*ONE_POST, {"title": "Second Post", "content": "Content 2", "user_id": 2}]
STORED = {
    "two_users": (TWO_USERS, []),
    "two_posts": (TWO_USERS, TWO_POSTS),
    **dict.fromkeys(["user", "updated_user", "user_deleted", "created_post"], ([TESTUSER], [])),
    **dict.fromkeys(["post", "updated_post", "post_deleted"], ([TESTUSER], ONE_POST)),
}
# Examples that an application in trouble answers, by the fixture that makes it.
IN_TROUBLE = {"internal_server_error": "failing", "service_unavailable": "cut_off"}


@pytest.mark.parametrize(("name", "status", "key"), [found for found in responses_shown() if found[1] != "408"])
def test_a_response_shown_is_received(name, status, key, send, make_user, make_post, client, request):
    users, posts = STORED.get(key, ([], []))
    if key in {"username_taken", "email_taken"}:
        member = key.removesuffix("_taken")
        users = [TESTUSER, {member: next(iter(body_examples(name).values()))[member]}]
    for user in users:
        make_user(**user)
    for post in posts:
        make_post(**post)
    body = {"json": INVALID_BODIES[name]} if key == "invalid_request" else {}
    sender = request.getfixturevalue(IN_TROUBLE[key]) if key in IN_TROUBLE else client

    response = send(name, sender, **REQUESTS.get(key, body))

    assert str(response.status_code) == status
    assert response.json() == shown(name, status, key)


@pytest.mark.parametrize("name", ["create_user", "update_user", "create_post", "update_post"])
def test_a_timeout_shown_is_received(name, impatient):
    assert impatient(name) == (408, shown(name, "408", "request_timeout"))


@pytest.mark.parametrize("name", OPERATIONS)
def test_parameters_shown_are_taken(name, send, stored):
    _, path, operation = OPERATIONS[name]
    parameters = [*CONTRACT.paths[path].get("parameters", ()), *operation.get("parameters", ())]
    stored(name)

    response = send(
        name,
        ident=next((str(parameter["example"]) for parameter in parameters if parameter["in"] == "path"), ""),
        params={p["name"]: p["example"] for p in parameters if p["in"] == "query" and "example" in p},
    )

    assert response.status_code < 300


@pytest.mark.parametrize(("schema", "name"), [("NewUser", "create_user"), ("UserChanges", "update_user")])
def test_members_shown_are_taken_together(schema, name, send, stored):
    stored(name)
    members = CONTRACT.resolve(CONTRACT.document["components"]["schemas"][schema])["properties"]

    response = send(name, json={member: definition["example"] for member, definition in members.items()})

    assert response.status_code < 300


@pytest.mark.parametrize("name", OPERATIONS)
def test_allow_is_one_of_those_shown(name, send):
    header = OPERATIONS[name][2]["responses"]["405"]["headers"]["Allow"]

    response = send(name, method="PATCH")

    assert response.headers["Allow"] in values_of(header).values()


@pytest.mark.parametrize("name", ["create_user", "create_post"])
def test_the_location_shown_is_that_of_the_first(name, send, stored):
    header = OPERATIONS[name][2]["responses"]["201"]["headers"]["Location"]
    stored(name)

    response = send(name)

    assert response.headers["Location"] == header["example"]


def test_the_retry_after_shown_is_received(send, cut_off):
    header = OPERATIONS["get_readiness"][2]["responses"]["503"]["headers"]["Retry-After"]

    response = send("get_readiness", cut_off)

    assert response.headers["Retry-After"] == str(header["example"])


def test_the_link_shown_leads_from_the_first_page_to_the_second(client, make_user, make_post):
    header = OPERATIONS["list_posts"][2]["responses"]["200"]["headers"]["Link"]
    make_user()
    for _ in range(21):
        make_post(user_id=1)

    response = client.get("/api/posts", params={"user_id": 1, "limit": 20})

    assert response.headers["Link"] == header["example"]
