"""Every example of the contract is valid, and a test sends or receives it."""

import asyncio
import json
import re

import pytest
from marshmallow import fields

from api import create_app, database
from contractapp.testing.ledger import Schemas
from tests.applications import application, key_held
from tests.resources import CONTRACT, OPERATIONS, RESOURCES, refusals_of

SCHEMAS = Schemas(CONTRACT)


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


def requests_shown():
    return [(name, key) for name, operation in OPERATIONS.items() for key in operation.bodies]


def responses_shown():
    return [
        (name, status, key)
        for name, operation in OPERATIONS.items()
        for status, response in operation.definition["responses"].items()
        for media in response.get("content", {}).values()
        for key in values_of(media)
    ]


def shown(name, status, key):
    (media,) = OPERATIONS[name].definition["responses"][status]["content"].values()
    return values_of(media)[key]


def row_shown(resource):
    """The example row of a resource in the contract."""
    (media,) = OPERATIONS[f"get_{resource.name}"].definition["responses"]["200"]["content"].values()
    return next(iter(values_of(media).values()))


def body_of(name):
    """The first example of the request body."""
    return next(iter(OPERATIONS[name].bodies.values()), {})


@pytest.fixture
def send(client):
    """Send a request of an operation; by default about the row with id 1, with the first example as the body."""

    def send(name, sender=client, ident="1", **overrides):
        operation = OPERATIONS[name]
        body = {"json": body_of(name)} if operation.bodies and "content" not in overrides else {}
        options = body | overrides
        return sender.request(options.pop("method", operation.method), operation.url(ident), **options)

    return send


class Tables:
    """Fills the run's tables with the example rows of the contract; ids count from 1."""

    def __init__(self, request):
        self._request = request
        self._stored = dict.fromkeys(RESOURCES, 0)

    def make(self, resource, **columns):
        """Store a row, which by default refers to the first row of each other table."""
        for column, parent in resource.parents.items():
            self.fill(parent, columns.setdefault(column, 1))
        self._stored[resource.table.name] += 1
        return self._request.getfixturevalue(f"make_{resource.name}")(**columns)

    def store(self, resource, row, without=()):
        """Store this row, without these columns, and the rows that it contains."""
        self.store_parents(resource, row)
        members = set_by_columns(resource) - set(without)
        columns = {name: resource.schema.dump_fields[name].deserialize(row[name]) for name in members}
        made = self.make(resource, **columns)
        assert {**row, **dict.fromkeys(without)} == {**made, **dict.fromkeys(without)}

    def store_parents(self, resource, row):
        """Store the rows that this row contains and refers to."""
        for name, field in resource.schema.dump_fields.items():
            if isinstance(field, fields.Nested):
                self.fill(RESOURCES[field.schema.opts.model.__table__.name], row[name]["id"], row[name])
        for column, parent in resource.parents.items():
            self.fill(parent, row[column])

    def fill(self, resource, ident, row=None):
        """Store rows up to this id; the last row is the example."""
        while self._stored[resource.table.name] < ident:
            if row is not None and self._stored[resource.table.name] == ident - 1:
                self.store(resource, row)
            else:
                self.make(resource)


@pytest.fixture
def tables(app, request):
    return Tables(request)


@pytest.fixture
def stored(tables):
    """Stores the rows that the examples of an operation assume."""

    def stored(name):
        resource = RESOURCES.get(OPERATIONS[name].table)
        if resource is None:
            return
        if name.startswith("create_"):
            tables.store_parents(resource, row_shown(resource))
        else:
            tables.store(resource, row_shown(resource))

    return stored


@pytest.fixture
def failing():
    """Requests to an application in which a Flask function raises an error before every request."""
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": "sqlite://"})

    def fail():
        raise RuntimeError("unforeseen")

    app.app.before_request(fail)
    yield app.test_client(raise_server_exceptions=False)
    database.dispose(app.app)


@pytest.fixture
def strict():
    """Requests to an application that requires If-Match."""
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": "sqlite://", "API_REQUIRE_IF_MATCH": True})
    yield app.test_client()
    database.dispose(app.app)


@pytest.fixture
def with_key_in_use(app, database_url):
    """Requests to an application in which another request holds the idempotency key `in-use`."""
    settings = {"API_WRITE_THREADS": 2, "API_LOCK_TIMEOUT_SECONDS": 0.1}
    with application(SQLALCHEMY_DATABASE_URI=database_url, **settings) as busy, key_held(busy, "in-use"):
        yield busy.test_client()


@pytest.fixture
def with_used_key(client):
    """Requests to the application; another request has used the idempotency key `used-before`."""
    body = {"username": "someone", "email": "someone@example.com"}
    response = client.post("/api/users", json=body, headers={"Idempotency-Key": "used-before"})
    assert response.status_code == 201
    return client


@pytest.fixture
def cut_off():
    """Requests to an application whose database cannot be reached."""
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": "postgresql://nobody@127.0.0.1:1/nothing"})
    yield app.test_client()
    database.dispose(app.app)


@pytest.fixture
def impatient():
    """The response to a request whose body never arrives."""
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": "sqlite://", "API_REQUEST_TIMEOUT_SECONDS": 0.1})
    yield lambda name: asyncio.run(_answer_without_body(app, name))
    database.dispose(app.app)


async def _answer_without_body(app, name):
    operation = OPERATIONS[name]
    messages = []

    async def send(message):
        messages.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": operation.method,
        "scheme": "http",
        "path": operation.url(),
        "raw_path": operation.url().encode(),
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"content-type", b"application/json"), (b"content-length", b"2")],
        "server": ("testserver", 80),
        "client": ("testclient", 1),
    }
    await app(scope, asyncio.Event().wait, send)
    return messages[0]["status"], json.loads(messages[1]["body"])


def test_every_example_is_valid():
    faults = {place: list(SCHEMAS.faults(schema, example)) for place, schema, example in examples_in(CONTRACT.document)}

    assert len(faults) > 80
    assert {place: found for place, found in faults.items() if found} == {}


@pytest.mark.parametrize(("name", "key"), requests_shown())
def test_the_example_of_a_request_succeeds(name, key, send, stored):
    stored(name)
    body = OPERATIONS[name].bodies[key]

    response = send(name, json=body)

    assert str(response.status_code) == next(iter(OPERATIONS[name].definition["responses"]))
    assert body.items() <= response.json().items()


# For each fault in an example, a value that causes it; None leaves the member out.
WRONG = {
    r"is required": lambda: None,
    r"is not a known (?:parameter|member)": lambda: 1,
    r"is not a cursor of this list": lambda: "MjA",
    r"must be an integer": lambda: "one",
    r"must be a string": lambda: 1,
    r"must be an e-mail address": lambda: "none",
    r"must be at most (\d+)": lambda limit: int(limit) + 1,
    r"must be at least (\d+)": lambda limit: int(limit) - 1,
    r"must have at most (\d+) characters?": lambda limit: "x" * (int(limit) + 1),
    r"must have at least 1 character": lambda: "",
}


def wrong(detail):
    for pattern, value in WRONG.items():
        if found := re.fullmatch(pattern, detail):
            return value(*found.groups())
    raise AssertionError(f"{detail!r}: say in WRONG what a request has to hold to be told so")


def request_with(name, faults):
    """A request of the operation that has exactly these faults."""
    request = {"params": {}, "ident": "1", "json": dict(body_of(name))}
    for fault in faults:
        value, member = wrong(fault["detail"]), fault["pointer"].removeprefix("/")
        if fault["in"] == "path":
            request["ident"] = value
        else:
            part = request["params" if fault["in"] == "query" else "json"]
            part[member] = value
            if value is None:
                del part[member]
    return request if OPERATIONS[name].bodies else {**request, "json": None}


# The requests that are answered with these statuses.
REQUESTS = {
    "405": {"method": "PATCH"},
    "409": {"headers": {"Idempotency-Key": "in-use"}},
    "412": {"headers": {"If-Match": '"0"'}},
    "413": {"content": b" " * (2**20 + 1), "headers": {"Content-Type": "application/json"}},
    "415": {"content": b"a", "headers": {"Content-Type": "text/plain"}},
    "422": {"headers": {"Idempotency-Key": "used-before"}},
}
# The fixtures of the applications that answer with these statuses.
SENDERS = {"409": "with_key_in_use", "422": "with_used_key", "428": "strict", "500": "failing", "503": "cut_off"}


@pytest.mark.parametrize(("name", "status", "key"), [found for found in responses_shown() if found[1] < "300"])
def test_the_example_of_a_response_is_received(name, status, key, send, tables, stored):
    example, body, resource = shown(name, status, key), body_of(name), RESOURCES.get(OPERATIONS[name].table)
    expected = example
    if name.startswith("delete_"):
        stored(name)
    elif name.startswith("create_"):
        tables.store_parents(resource, example)
    elif resource is not None:
        for row in example if isinstance(example, list) else [example]:
            tables.store(resource, row, without=body.keys())

    response = send(name)

    if name.startswith("create_"):
        expected = example | {member: response.json()[member] for member in set_by_the_service(resource, body)}
    assert str(response.status_code) == status
    assert response.json() == expected


def set_by_the_service(resource, body):
    """The members that the service sets to a value other than a number in sequence, such as the time."""
    return set_by_columns(resource) - body.keys()


def set_by_columns(resource):
    """The members of a row that are columns, without its id."""
    return {column.name for column in resource.table.columns if not column.primary_key} & resource.schema.fields.keys()


@pytest.mark.parametrize(("name", "status", "key"), [found for found in responses_shown() if found[1] == "400"])
def test_the_example_of_a_refusal_is_received(name, status, key, send, tables, stored):
    example = shown(name, status, key)
    faults = example["errors"]
    refusals = [found for found in refusals_of(OPERATIONS[name]) if found.problem.type == example["type"]]
    request = {"json": body_of(name)} if refusals else request_with(name, faults)
    for refusal in refusals:
        stored(name)
        (column,) = (column.name for column in refusal.columns if f"/{column.name}" == faults[0]["pointer"])
        if refusal.targets:
            request["json"] = {**body_of(name), column: 999}  # there is no row with this id
        else:
            tables.make(RESOURCES[refusal.table.name], **{column: body_of(name)[column]})

    response = send(name, **request)

    assert str(response.status_code) == status
    assert response.json() == example


@pytest.mark.parametrize(
    ("name", "status", "key"), [found for found in responses_shown() if found[1] > "400" and found[1] != "408"]
)
def test_the_example_of_a_failure_is_received(name, status, key, send, client, stored, request):
    sender = request.getfixturevalue(SENDERS.get(status, "client"))
    if status == "412":
        stored(name)

    response = send(name, sender, **REQUESTS.get(status, {}))

    assert str(response.status_code) == status
    assert response.json() == shown(name, status, key)


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.bodies])
def test_the_example_of_a_timeout_is_received(name, impatient):
    assert impatient(name) == (408, shown(name, "408", "request_timeout"))


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_examples_of_parameters_are_accepted(name, send, stored):
    parameters = OPERATIONS[name].parameters.values()
    stored(name)

    response = send(
        name,
        ident=next((str(parameter["example"]) for parameter in parameters if parameter["in"] == "path"), ""),
        params={p["name"]: p["example"] for p in parameters if p["in"] == "query" and "example" in p},
    )

    assert response.status_code < 300


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.bodies])
def test_the_examples_of_members_are_accepted_together(name, send, stored):
    stored(name)
    (media,) = OPERATIONS[name].definition["requestBody"]["content"].values()
    members = media["schema"]["properties"]

    response = send(name, json={member: definition.get("example", 1) for member, definition in members.items()})

    assert response.status_code < 300


@pytest.mark.parametrize("name", OPERATIONS)
def test_allow_is_one_of_its_examples(name, send):
    header = OPERATIONS[name].definition["responses"]["405"]["headers"]["Allow"]

    response = send(name, method="PATCH")

    assert response.headers["Allow"] in values_of(header).values()


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name.startswith("create_")])
def test_the_example_of_location_is_that_of_the_first_row(name, send, stored):
    header = OPERATIONS[name].definition["responses"]["201"]["headers"]["Location"]
    stored(name)

    response = send(name)

    assert response.headers["Location"] == header["example"]


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name.startswith("create_")])
def test_the_example_of_the_entity_tag_is_that_of_a_new_row(name, send, stored):
    header = OPERATIONS[name].definition["responses"]["201"]["headers"]["ETag"]
    stored(name)

    response = send(name)

    assert response.headers["ETag"].split("-")[0].strip('"') == header["example"].strip('"')


def test_the_example_of_retry_after_is_received(send, cut_off):
    header = OPERATIONS["get_readiness"].definition["responses"]["503"]["headers"]["Retry-After"]

    response = send("get_readiness", cut_off)

    assert response.headers["Retry-After"] == str(header["example"])


def test_the_link_shown_leads_from_the_first_page_to_the_second(client, make_user, make_post):
    header = OPERATIONS["list_posts"].definition["responses"]["200"]["headers"]["Link"]
    make_user()
    for _ in range(21):
        make_post(user_id=1)

    response = client.get("/api/posts", params={"user_id": 1, "limit": 20})

    assert response.headers["Link"] == header["example"]
