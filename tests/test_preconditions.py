"""Entity tags and preconditions of every resource; `contractapp/tests/test_preconditions.py` tests their grammar."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from marshmallow import fields
from sqlalchemy import event, text

from api import db
from tests.applications import application
from tests.resources import CONTRACT, OPERATIONS, RESOURCES

each = pytest.mark.parametrize("resource", RESOURCES.values(), ids=RESOURCES.keys())
each_change = pytest.mark.parametrize(
    ("resource", "kind"), [(resource, kind) for resource in RESOURCES.values() for kind in ("update", "delete")]
)

STALE = {
    "type": "urn:problem:precondition-failed",
    "title": "Precondition failed",
    "status": 412,
    "detail": "The precondition in If-Match does not hold.",
    "error": "The precondition in If-Match does not hold.",
    "errors": [{"in": "header", "pointer": "/If-Match", "detail": "does not hold for the current state"}],
}


def url_of(resource, ident=1):
    return OPERATIONS[f"get_{resource.name}"].url(str(ident))


def changes(resource):
    """Changes of a row: the first example of the contract."""
    return next(iter(OPERATIONS[f"update_{resource.name}"].bodies.values()))


def change(client, resource, kind="update", if_match=None, ident=1):
    """Update or delete a row."""
    headers = {} if if_match is None else {"If-Match": if_match}
    body = {"json": changes(resource)} if kind == "update" else {}
    return client.request({"update": "PUT", "delete": "DELETE"}[kind], url_of(resource, ident), headers=headers, **body)


def tag_of(client, resource):
    return client.get(url_of(resource)).headers["etag"]


def shown_in(resource):
    """The resources of the rows that a row contains."""
    found = (field for field in resource.schema.dump_fields.values() if isinstance(field, fields.Nested))
    return [RESOURCES[field.schema.opts.model.__table__.name] for field in found]


def state(client):
    """All stored rows with their tags."""
    rows = {name: client.get(f"/api/{name}").json() for name in RESOURCES}
    return {
        (name, row["id"]): (row, client.get(url_of(RESOURCES[name], row["id"])).headers["etag"])
        for name, found in rows.items()
        for row in found
    }


@each
def test_the_first_tag_is_that_of_the_answer_to_its_creation(client, rows, resource):
    created = client.post(
        f"/api/{resource.table.name}", json=next(iter(OPERATIONS[f"create_{resource.name}"].bodies.values()))
    )

    got = client.get(created.headers["location"])

    assert created.status_code == 201
    assert got.headers["etag"] == created.headers["etag"]
    assert got.headers["etag"].startswith('"1')


@each
def test_each_change_changes_the_tag_even_if_it_changes_no_value(client, rows, resource):
    tags = [tag_of(client, resource)]
    for _ in range(3):
        tags.append(change(client, resource).headers["etag"])
        assert tag_of(client, resource) == tags[-1]

    assert len(set(tags)) == 4


@each
def test_the_tag_changes_with_every_row_that_the_answer_shows_and_with_no_other(client, rows, resource):
    before = tag_of(client, resource)

    changed = {}
    for other in RESOURCES.values():
        if other is not resource:
            change(client, other)
            changed[other.name] = tag_of(client, resource) != before
            before = tag_of(client, resource)

    assert {name for name, is_changed in changed.items() if is_changed} == {other.name for other in shown_in(resource)}


@each
def test_a_refused_change_keeps_the_tag(client, rows, resource):
    before = tag_of(client, resource)

    assert client.put(url_of(resource), json={}).status_code == 400
    assert tag_of(client, resource) == before


@pytest.mark.parametrize("name", ["username", "email"])
def test_a_change_that_a_constraint_refuses_keeps_the_tag(client, make_user, name):
    make_user()
    other = make_user()

    refused = client.put("/api/users/1", json={name: other[name]}, headers={"If-Match": '"1"'})

    assert refused.status_code == 400
    assert client.get("/api/users/1").headers["etag"] == '"1"'


@each
def test_no_answer_has_the_version_in_its_body(client, rows, resource):
    for answer in (client.get(url_of(resource)), change(client, resource), client.get(f"/api/{resource.table.name}")):
        assert "version" not in answer.text


@each
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("value", ["{tag}", "W/{tag}", '"other", {tag}', '"other",,W/{tag} ,', "*"])
def test_304_if_a_tag_is_still_the_current_one(client, rows, resource, method, value):
    tag = tag_of(client, resource)

    response = client.request(method, url_of(resource), headers={"If-None-Match": value.format(tag=tag)})

    assert response.status_code == 304
    assert dict(response.headers) == {"etag": tag}
    assert response.content == b""


@each
@pytest.mark.parametrize("value", ["{old}", "W/{old}", '"other", {old}', '""', '"*"'])
def test_200_if_no_tag_is_the_current_one(client, rows, resource, value):
    old = tag_of(client, resource)
    change(client, resource)

    response = client.get(url_of(resource), headers={"If-None-Match": value.format(old=old)})

    assert response.status_code == 200
    assert response.json() == client.get(url_of(resource)).json()


@each
def test_404_comes_before_304(client, resource):
    assert client.get(url_of(resource), headers={"If-None-Match": "*"}).status_code == 404


@each_change
@pytest.mark.parametrize("value", ["{tag}", '"other", {tag}', 'W/{tag}, {tag}, "other"', ',{tag},"other"', "*"])
def test_200_if_a_tag_is_the_current_one(client, rows, resource, kind, value):
    tag = tag_of(client, resource)

    response = change(client, resource, kind, value.format(tag=tag))

    assert response.status_code == 200
    if kind == "update":
        assert changes(resource).items() <= response.json().items()
        assert response.headers["etag"] == tag_of(client, resource) != tag
    else:
        assert client.get(url_of(resource)).status_code == 404


@each_change
@pytest.mark.parametrize("value", ["{old}", "W/{tag}", 'W/{tag}, "other"', '{old}, "other"', '""', '"é"', '"\\\'%_"'])
def test_412_if_no_tag_is_the_current_one(client, rows, resource, kind, value):
    old = tag_of(client, resource)
    tag = change(client, resource).headers["etag"]
    before = state(client)

    response = change(client, resource, kind, value.format(old=old, tag=tag).encode("latin-1"))

    assert response.status_code == 412
    assert response.json() == STALE
    assert response.headers["etag"] == tag
    assert state(client) == before


@each_change
def test_412_if_a_row_that_the_answer_shows_was_changed(client, rows, resource, kind):
    for other in shown_in(resource):
        old = tag_of(client, resource)
        change(client, other)

        response = change(client, resource, kind, old)

        assert (response.status_code, response.headers["etag"]) == (412, tag_of(client, resource))


@each_change
def test_200_without_a_precondition(client, rows, resource, kind):
    change(client, resource)

    assert change(client, resource, kind).status_code == 200


@each_change
@pytest.mark.parametrize("value", ['"1"', "*", 'W/"1"'])
def test_404_comes_before_412(client, resource, kind, value):
    """RFC 9110, section 13.2.1: a precondition is ignored if the answer without it is neither a success nor a 412."""
    assert change(client, resource, kind, value).status_code == 404


@each_change
def test_404_if_the_row_was_deleted(client, rows, resource, kind):
    tag = tag_of(client, resource)
    change(client, resource, "delete")

    assert change(client, resource, kind, tag).status_code == 404


@each_change
def test_400_comes_before_412(client, rows, resource, kind):
    response = client.request(
        {"update": "PUT", "delete": "DELETE"}[kind], f"{url_of(resource)}?x=1", headers={"If-Match": '"other"'}
    )

    assert response.status_code == 400


def test_412_comes_before_the_conflict_of_a_change_that_was_not_tried(client, make_user):
    make_user()
    other = make_user()

    response = client.put("/api/users/1", json={"username": other["username"]}, headers={"If-Match": '"2"'})

    assert response.status_code == 412


@each_change
@pytest.mark.parametrize("value", ["1", "", '"1', '"1" "2"', '*, "1"', "“1”".encode()])
def test_400_for_a_precondition_that_is_no_list_of_tags(client, rows, invalid_precondition, resource, kind, value):
    before = state(client)

    response = change(client, resource, kind, value)

    assert response.json()["errors"] == invalid_precondition("If-Match")
    assert state(client) == before


@each
def test_400_for_a_precondition_of_a_get_that_is_no_list_of_tags(client, rows, invalid_precondition, resource):
    response = client.get(url_of(resource), headers={"If-None-Match": "1"})

    assert response.status_code == 400
    assert response.json()["errors"] == invalid_precondition("If-None-Match")


@pytest.fixture
def invalid_precondition():
    detail = "must be * or a list of entity tags, each in double quotes"
    return lambda name: [{"in": "header", "pointer": f"/{name}", "detail": detail}]


@each
def test_a_new_row_never_has_the_tag_of_a_deleted_row_at_the_same_address(client, rows, resource):
    """An id is never used twice, so the address and the tag together name one state for ever."""
    change(client, resource, "delete")
    body = next(iter(OPERATIONS[f"create_{resource.name}"].bodies.values()))

    assert client.post(f"/api/{resource.table.name}", json=body).headers["location"] != url_of(resource)


@pytest.fixture
def strict(app, database_url):
    """Requests to an application on the run's database that requires If-Match."""
    with application(SQLALCHEMY_DATABASE_URI=database_url, API_REQUIRE_IF_MATCH=True) as strict:
        yield strict.test_client()


@each_change
def test_428_without_a_precondition_where_it_is_required(client, strict, rows, resource, kind):
    tag, before = tag_of(client, resource), state(client)

    refused = change(strict, resource, kind)
    kept = state(client)

    assert refused.status_code == 428
    assert refused.json()["detail"] == "The request must have the header If-Match."
    assert kept == before
    assert change(strict, resource, kind, tag).status_code == 200


@each_change
def test_the_published_contract_says_whether_a_precondition_is_required(client, strict, resource, kind):
    operation = OPERATIONS[f"{kind}_{resource.name}"]

    def required(client):
        document = client.get("/api/openapi.json").json()
        definition = document["paths"][operation.path][operation.method.lower()]
        parameters = [CONTRACT.resolve(parameter) for parameter in definition["parameters"]]
        return [parameter["required"] for parameter in parameters if parameter["name"] == "If-Match"]

    assert (required(client), required(strict)) == ([False], [True])


@pytest.fixture
def count_statements(app):
    """The number of statements that a function runs."""

    def count(function):
        engines = {runner.engine for runner in app.app.extensions["api.database"]}
        seen = []

        def note(_connection, _cursor, statement, *_):
            seen.append(statement)

        observed = {engine: engine._has_events for engine in engines}
        for engine in engines:
            event.listen(engine, "before_cursor_execute", note)
        try:
            function()
            return len(seen)
        finally:
            for engine in engines:
                event.remove(engine, "before_cursor_execute", note)
                engine._has_events = observed[
                    engine
                ]  # SQLAlchemy keeps it: other tests' statements would miss the driver

    return count


@each
def test_a_tag_costs_no_statement(client, rows, count_statements, resource):
    old = tag_of(client, resource)
    current = change(client, resource).headers["etag"]

    numbers = {
        "get": count_statements(lambda: client.get(url_of(resource))),
        "304": count_statements(lambda: client.get(url_of(resource), headers={"If-None-Match": current})),
        "200": count_statements(lambda: change(client, resource, "update", current)),
        "412": count_statements(lambda: change(client, resource, "update", old)),
        "*": count_statements(lambda: change(client, resource, "delete", "*")),
        "404": count_statements(lambda: change(client, resource, "delete", old)),
    }

    # Only if no row was changed, a second statement finds out why.
    assert numbers == {"get": 1, "304": 1, "200": 1, "412": 2, "*": 1, "404": 2}


@each_change
def test_412_while_all_connections_for_reads_are_in_use(app, client, rows, database_url, resource, kind):
    old = tag_of(client, resource)
    change(client, resource)

    with application(SQLALCHEMY_DATABASE_URI=database_url, API_READ_THREADS=1, API_POOL_TIMEOUT_SECONDS=0.1) as other:
        connection = other.app.extensions["api.database"].reader.engine.raw_connection()
        response = change(other.test_client(), resource, kind, old)
        connection.close()

    assert response.status_code == 412


@pytest.fixture
def held_up(client):
    """Sends a change that waits for the transaction of another connection, in which a statement changes the row."""

    def send(statement, resource, kind, if_match):
        with db.engine.connect() as other, ThreadPoolExecutor(1) as thread:
            if other.dialect.name == "sqlite":
                other.exec_driver_sql("BEGIN IMMEDIATE")
            other.execute(text(statement))
            answer = thread.submit(change, client, resource, kind, if_match)
            with pytest.raises(TimeoutError):  # it waits for the other transaction
                answer.result(0.15)
            other.commit()
            return answer.result()

    return send


@each_change
@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("UPDATE {table} SET version = version + 1 WHERE id = 1", 412),
        ("DELETE FROM {table} WHERE id = 1", 404),
    ],
)
def test_a_change_that_was_made_meanwhile_counts(app, client, rows, held_up, resource, kind, statement, status):
    tag = tag_of(client, resource)

    with app.app.app_context():
        response = held_up(statement.format(table=resource.table.name), resource, kind, tag)

    assert response.status_code == status
    if status == 412:
        assert response.headers["etag"] == tag_of(client, resource) != tag


@each
def test_a_tag_of_a_list_that_becomes_the_current_one_meanwhile_matches(app, client, rows, held_up, resource):
    tag = tag_of(client, resource)
    ahead = '"2' + tag[2:]

    with app.app.app_context():
        response = held_up(
            f"UPDATE {resource.table.name} SET version = version + 1 WHERE id = 1",
            resource,
            "update",
            f"{tag}, {ahead}",
        )

    assert response.status_code == 200
    assert response.headers["etag"] == '"3' + tag[2:]
