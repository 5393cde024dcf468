"""Idempotency keys: one row and one answer for a key, however often, where and when the request is sent."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, delete, event, insert, select, text

from api.database import Base, db, read, read_as_writer, transaction, write
from api.models import User, UsernameTaken
from contractapp import Remembered
from contractapp.compile.keys import parse_key
from tests.applications import application, key_held
from tests.resources import OPERATIONS

KEY = "3f1c2b58-6f2e-4c4e-9a0b-4b0f5c8f2c11"
ANN = {"username": "ann", "email": "ann@example.com"}
BOB = {"username": "bob", "email": "bob@example.com"}
REUSED = "urn:problem:idempotency-key-reused"
JSON = ("Content-Type", "application/json")
THREADS = 6


@pytest.fixture
def create(client):
    """Sends a POST with a key."""

    def create(body=ANN, key=KEY, url="/api/users", client=client):
        return client.post(url, json=body, headers={"Idempotency-Key": key})

    return create


@pytest.fixture
def database(app, database_url):
    """A connection to the run's database; each statement is a transaction of its own."""
    engine = create_engine(database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture(scope="module")
def racing(database_url):
    """An application on the run's database that writes in several threads."""
    with application(SQLALCHEMY_DATABASE_URI=database_url, API_WRITE_THREADS=THREADS) as app:
        yield app


@pytest.fixture
def hasty(app, database_url):
    """An application on the run's database that waits for a lock for 0.2 seconds only."""
    with application(SQLALCHEMY_DATABASE_URI=database_url, API_WRITE_THREADS=2, API_LOCK_TIMEOUT_SECONDS=0.2) as hasty:
        yield hasty


def everything(answer):
    """What has to be the same, byte for byte."""
    return answer.status_code, answer.headers.raw, answer.content


def keys_in(database):
    return database.scalar(text("SELECT count(*) FROM idempotency_keys"))


def age(database, hours, where="true"):
    """Make keys older."""
    ago = {
        "sqlite": f"strftime('%Y-%m-%d %H:%M:%f000', created_at, '-{hours} hours')",
        "postgresql": f"created_at - interval '{hours} hours'",
    }
    database.execute(text(f"UPDATE idempotency_keys SET created_at = {ago[database.dialect.name]} WHERE {where}"))


# The first answer again


def test_201_once_more_and_one_user(client, create):
    first = create()
    again = create()

    assert first.status_code == 201
    assert first.headers["location"] == "/api/users/1"
    assert everything(again) == everything(first)
    assert client.get("/api/users").json() == [first.json()]


def test_201_once_more_and_one_post(client, create, user):
    body = {"title": "Title", "content": "é\n" * 1000, "user_id": user["id"]}
    first = create(body, url="/api/posts")
    again = create(dict(reversed(body.items())), url="/api/posts")

    assert everything(again) == everything(first)
    assert client.get("/api/posts").json() == [first.json()]


def test_201_as_at_first_even_after_the_row_was_changed_and_deleted(client, create):
    first = create()
    client.put("/api/users/1", json={"username": "changed"})
    assert everything(create()) == everything(first)
    client.delete("/api/users/1")

    assert everything(create()) == everything(first)
    assert client.get("/api/users").json() == []


def test_201_for_each_of_many_keys(client, create):
    bodies = [{"username": f"u{number}", "email": f"u{number}@example.com"} for number in range(5)]

    assert [create(body, key=f"key-{body['username']}").json()["id"] for body in bodies] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("other", ['"same"', "same"])
def test_201_once_more_in_either_form_of_the_key(create, other):
    first = create(key="same")

    assert everything(create(key=other)) == everything(first)


@pytest.mark.parametrize("raw", [b'"a\\"b"', b'a"b'])
def test_a_key_is_what_the_quoted_string_means(app, ask, database, raw):
    reply = ask(app, "POST", "/api/users", [JSON, ("Idempotency-Key", raw)], json.dumps(ANN).encode())

    assert reply.status == 201
    assert database.scalars(text("SELECT key FROM idempotency_keys")).all() == ['a"b']


@pytest.mark.parametrize(
    "key", ["!", "~" * 255, '"~"', f'"{"a" * 255}"', f'"{chr(92)}{chr(92) * 509}"', "a,b", ":YQ==:"]
)
def test_201_for_a_key_of_visible_characters(create, key):
    assert create(key=key).status_code == 201


@given(st.text('\\"a !\x7f\n', max_size=8) | st.text('ab"\\', min_size=254, max_size=258) | st.text(max_size=4))
def test_the_contract_and_the_service_agree_on_what_a_key_is(text):
    parameter = OPERATIONS["create_user"].parameters["Idempotency-Key"]

    assert jsonschema_rs.is_valid(parameter["schema"], text) == (parse_key(text) is not None)


# Refusals

NO_KEYS = [
    b"",
    b'""',
    b'"',
    b'"a',
    b'a"b c',
    b"a b",
    b'"a b"',
    b'"a"; q=1',
    b'"a", "b"',
    b'"\\a"',
    b'"\\"',
    b"a" * 256,
    b'"' + b"a" * 256 + b'"',
    b"\xc3\xa9",
    b"\x80",
    b"a\x00",
    b"a\x7f",
    b"a\tb",
]


@pytest.mark.parametrize("raw", NO_KEYS)
def test_400_for_a_value_that_is_no_key(app, ask, database, raw):
    reply = ask(app, "POST", "/api/users", [JSON, ("Idempotency-Key", raw)], json.dumps(ANN).encode())

    assert reply.status == 400
    assert reply.faults == [("header", "/Idempotency-Key", "must be one string of 1 to 255 visible ASCII characters")]
    assert keys_in(database) == 0


@pytest.mark.parametrize("pair", [(b"a", b"b"), (b"a", b"a"), (b'"a"', b'"a"')])
def test_400_for_a_header_that_is_sent_twice(app, ask, database, pair):
    headers = [JSON, *(("Idempotency-Key", raw) for raw in pair)]
    reply = ask(app, "POST", "/api/users", headers, json.dumps(ANN).encode())

    assert reply.status == 400
    assert reply.faults == [("header", "/Idempotency-Key", "must be one string of 1 to 255 visible ASCII characters")]


def test_400_lists_a_bad_key_beside_the_faults_of_the_body(create):
    response = create({"username": "ann"}, key="a b")

    assert [fault["pointer"] for fault in response.json()["errors"]] == ["/Idempotency-Key", "/email"]


def test_422_for_another_request_with_the_key(client, create):
    create()

    response = create(BOB)

    assert response.status_code == 422
    assert response.json()["type"] == REUSED
    assert client.get("/api/users").json() == [{"id": 1, **ANN}]


def test_422_for_another_operation_with_the_key(client, create):
    create()

    response = create({"title": "Title", "content": "Content", "user_id": 1}, url="/api/posts")

    assert response.status_code == 422
    assert client.get("/api/posts").json() == []


def test_a_refused_request_is_not_remembered(client, create, make_user):
    other = make_user(username="ann")
    refused = create()
    client.delete(f"/api/users/{other['id']}")

    response = create()

    assert (refused.status_code, refused.json()["type"]) == (400, "urn:problem:username-taken")
    assert response.status_code == 201
    assert everything(create()) == everything(response)


def test_a_refused_request_may_be_corrected_under_its_key(create):
    refused = create({"title": "Title", "content": "Content", "user_id": 1}, url="/api/posts")

    assert (refused.status_code, refused.json()["type"]) == (400, "urn:problem:unknown-user")
    assert create().status_code == 201


@contextmanager
def locked(database):
    """Another transaction keeps everybody from writing users, but holds no key."""
    begin = {"sqlite": ["BEGIN IMMEDIATE"], "postgresql": ["BEGIN", "LOCK TABLE users IN SHARE MODE"]}
    for statement in begin[database.dialect.name]:
        database.exec_driver_sql(statement)
    try:
        yield
    finally:
        database.exec_driver_sql("ROLLBACK")


def test_503_while_the_database_is_locked_is_not_remembered(client, create, hasty, database):
    with locked(database):
        refused = create(client=hasty.test_client())

    response = create(client=hasty.test_client())

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert response.status_code == 201
    assert client.get("/api/users").json() == [response.json()]


def test_503_while_the_table_of_keys_is_locked(on_postgresql, create, hasty, database):
    database.exec_driver_sql("BEGIN")
    database.exec_driver_sql("LOCK TABLE idempotency_keys IN SHARE MODE")

    response = create(client=hasty.test_client())
    database.exec_driver_sql("ROLLBACK")

    assert response.status_code == 503


def test_409_while_the_first_request_runs_for_longer_than_the_lock_timeout(create, hasty):
    with key_held(hasty, KEY):
        refused = create(client=hasty.test_client())

    assert (refused.status_code, refused.headers["retry-after"]) == (409, "1")
    assert refused.json()["type"] == "about:blank"
    assert create(client=hasty.test_client()).status_code == 201


def test_409_while_a_request_of_another_host_runs(on_postgresql, create, hasty, app):
    with key_held(app, KEY):
        refused = create(client=hasty.test_client())
        other = create(BOB, key="other", client=hasty.test_client())

    assert (refused.status_code, other.status_code) == (409, 201)


def test_201_once_the_first_request_has_ended(create, racing, app):
    with ThreadPoolExecutor(1) as thread, key_held(app, KEY):
        waiting = thread.submit(create, client=racing.test_client())
        time.sleep(0.15)
        assert not waiting.done()  # otherwise there was no race

    assert waiting.result().status_code == 201


# Equal requests at once


@pytest.mark.parametrize("url", ["/api/users", "/api/posts"])
def test_equal_requests_at_once_are_one(create, client, racing, url, make_user):
    racing.test_client().get("/api/health/live")
    for turn in range(4):
        user = make_user()
        body = {
            "/api/users": {"username": f"same{turn}", "email": f"same{turn}@example.com"},
            "/api/posts": {"title": "Title", "content": "Content", "user_id": user["id"]},
        }[url]
        before = len(client.get(url).json())

        with ThreadPoolExecutor(THREADS) as threads:
            sent = [
                threads.submit(create, body, f"key{turn}", url, client=racing.test_client()) for _ in range(THREADS)
            ]
            answers = [everything(answer.result()) for answer in sent]

        assert answers == [answers[0]] * THREADS
        assert answers[0][0] == 201
        assert len(client.get(url).json()) == before + 1


def test_of_different_requests_at_once_under_one_key_one_is_carried_out(create, client, racing):
    racing.test_client().get("/api/health/live")
    for turn in range(4):
        bodies = [{"username": f"u{turn}-{n}", "email": f"u{turn}-{n}@example.com"} for n in range(THREADS)]
        with ThreadPoolExecutor(THREADS) as threads:
            sent = [threads.submit(create, body, f"key{turn}", client=racing.test_client()) for body in bodies]
            statuses = sorted(answer.result().status_code for answer in sent)

        assert statuses == [201] + [422] * (THREADS - 1)
        assert len(client.get("/api/users").json()) == turn + 1


def test_201_with_the_author_who_was_stored_while_the_post_was_inserted(on_postgresql, create, racing, database):
    """The statement's snapshot lacks the author, but the foreign key finds the author: it has to run again."""
    database.exec_driver_sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN PERFORM pg_advisory_xact_lock(1); RETURN new; END$$"
    )
    database.exec_driver_sql("CREATE TRIGGER wait BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION wait()")
    try:
        with ThreadPoolExecutor(1) as thread:
            database.exec_driver_sql("SELECT pg_advisory_lock(1)")
            body = {"title": "Title", "content": "Content", "user_id": 1}
            waiting = thread.submit(create, body, url="/api/posts", client=racing.test_client())
            statement = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            while not database.scalar(statement):
                time.sleep(0.01)
            database.exec_driver_sql("INSERT INTO users (username, email) VALUES ('ann', 'ann@example.com')")
            database.exec_driver_sql("SELECT pg_advisory_unlock(1)")
            first = waiting.result()
    finally:
        database.exec_driver_sql("DROP TRIGGER wait ON posts")
        database.exec_driver_sql("DROP FUNCTION wait")

    assert first.json()["author"] == {"id": 1, **ANN}
    assert everything(create(body, url="/api/posts")) == everything(first)


# The age of keys


def test_an_expired_key_is_a_new_one(client, create, database):
    create()
    age(database, 25)

    response = create(BOB)

    assert (response.status_code, response.json()) == (201, {"id": 2, **BOB})
    assert everything(create(BOB)) == everything(response)
    assert keys_in(database) == 1


def test_a_key_lives_for_as_long_as_the_settings_say(app, create, database_url, database):
    first = create()
    age(database, 25)
    with application(SQLALCHEMY_DATABASE_URI=database_url, API_IDEMPOTENCY_HOURS=26) as other:
        assert everything(create(client=other.test_client())) == everything(first)
        age(database, 2)
        assert create(client=other.test_client()).status_code == 400  # the username is taken


def test_old_keys_are_removed_a_few_at_a_time(create, database):
    for number in range(2, 32):
        database.execute(
            text("INSERT INTO idempotency_keys (key, operation) VALUES (:key, 'POST /api/users')"),
            {"key": f"old{number}"},
        )
    age(database, 25)
    database.execute(text("INSERT INTO idempotency_keys (key) VALUES ('young')"))
    left = []
    for number in range(8):
        create({"username": f"u{number}", "email": f"u{number}@example.com"}, key=f"new{number}")
        left.append(keys_in(database))

    assert left == [27, 23, 19, 15, 11, 7, 8, 9]


def test_there_are_never_more_keys_than_were_sent_in_a_lifetime(create, database):
    counts = []
    for hour in range(60):
        create({"username": f"u{hour}", "email": f"u{hour}@example.com"}, key=f"key{hour}")
        counts.append(keys_in(database))
        age(database, 1)

    assert counts == [*range(1, 25), *[24] * 36]


def test_requests_do_not_wait_for_each_other_to_remove_old_keys(on_postgresql, create, hasty, database):
    database.exec_driver_sql("INSERT INTO idempotency_keys (key) SELECT 'old' || n FROM generate_series(1, 4) AS n")
    age(database, 25)
    database.exec_driver_sql("BEGIN")
    database.exec_driver_sql("DELETE FROM idempotency_keys WHERE key = 'old1'")

    response = create(client=hasty.test_client())
    left = database.scalars(text("SELECT key FROM idempotency_keys WHERE key <> 'new' ORDER BY key")).all()
    database.exec_driver_sql("ROLLBACK")

    assert response.status_code == 201
    assert left == [KEY]


# The price


@pytest.fixture
def statements(app, database_url):
    """An application, and the statements that it runs."""
    with application(SQLALCHEMY_DATABASE_URI=database_url) as other:
        found = []
        with other.app.app_context():
            engine = other.app.extensions["api.database"].writer.engine

        @event.listens_for(engine, "before_cursor_execute")
        def note(_connection, _cursor, statement, *_):
            found.append(" ".join(statement.split()[:3]))

        yield other, found


def test_a_request_without_a_key_runs_one_statement(statements):
    other, found = statements
    other.test_client().post("/api/users", json=ANN)

    assert found == ["INSERT INTO users"]


def test_a_request_with_a_key_runs_four_statements_and_its_repetition_two(create, statements):
    other, found = statements
    create(client=other.test_client())
    first = list(found)
    found.clear()
    create(client=other.test_client())

    assert first == [
        "INSERT INTO idempotency_keys",
        "INSERT INTO users",
        "UPDATE idempotency_keys SET",
        "DELETE FROM idempotency_keys",
    ]
    assert [statement.split()[0] for statement in found] == ["INSERT", "SELECT"]


def test_the_operations_that_create_rows_have_keys():
    found = {name for name, operation in OPERATIONS.items() if "Idempotency-Key" in operation.parameters}

    assert found == {"create_user", "create_post"}


def test_a_database_in_memory_has_keys(create):
    with application(SQLALCHEMY_DATABASE_URI="sqlite://") as other:
        with other.app.app_context():
            db.create_all()
        memory = other.test_client()
        first, again = create(client=memory), create(client=memory)
        refused = create({**BOB, "username": "ann"}, key="other", client=memory)

        assert everything(again) == everything(first)
        assert refused.status_code == 400
        assert memory.get("/api/users").json() == [first.json()]


# The transaction

INSERT = insert(User.__table__).returning(User.__table__.c.id)
SELECT = select(User.__table__.c.id)


@pytest.mark.parametrize("reading", [read, read_as_writer])
def test_reads_and_writes_take_part_in_the_transaction(app, reading):
    with app.app.app_context():
        with transaction() as commit:
            write(INSERT, ANN)
            commit()
        with transaction():
            write(INSERT, BOB)
            inside = len(reading(SELECT, {}))

        assert (inside, len(reading(SELECT, {}))) == (2, 1)


def test_an_exception_rolls_the_transaction_back(app):
    def fail():
        with transaction():
            write(INSERT, ANN)
            raise ZeroDivisionError

    with app.app.app_context():
        with pytest.raises(ZeroDivisionError):
            fail()

        assert read(SELECT, {}) == []
        write(INSERT, ANN)
        assert len(read(SELECT, {})) == 1


@pytest.mark.parametrize(
    "following", [lambda _: write(INSERT, BOB), lambda _: read(SELECT, {}), lambda commit: commit()]
)
def test_after_a_refused_statement_the_transaction_can_only_be_rolled_back(app, following):
    """PostgreSQL has rolled back the claim of a key by then: what a handler stored would lack its answer."""

    def go_on():
        with transaction() as commit:
            write(INSERT, BOB)
            with pytest.raises(UsernameTaken):
                write(INSERT, ANN)
            following(commit)

    with app.app.app_context():
        write(INSERT, ANN)
        with pytest.raises(RuntimeError, match="it can only be rolled back"):
            go_on()

        assert len(read(SELECT, {})) == 1


def test_an_answer_without_a_claim_is_not_stored(app, database):
    def remember():
        with app._idempotency_store.claim(KEY) as claim:
            table = Base.metadata.tables["idempotency_keys"]
            write(delete(table).returning(table.c.key), {})
            claim.remember(Remembered("POST /api/users", b"digest", 201, [], b""))

    with app.app.app_context(), pytest.raises(RuntimeError, match="rolled back"):
        remember()

    assert keys_in(database) == 0
