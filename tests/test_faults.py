"""A real fault of the database: the response is a problem without internal details, and nothing is stored.

The faults are produced in the database: a constraint that fails in COMMIT, a lock, a read-only database, one that has
no tables, or one that does not exist.
"""

import logging

import pytest
from sqlalchemy import create_engine

from api import db
from tests.applications import application
from tests.resources import RESOURCES
from tests.test_every_operation import OPERATIONS, assert_problem, each, send, state

SECRET = "inner-workings"
UNREACHABLE = ["sqlite:////no/such/folder/api.db", "postgresql+psycopg://nobody@127.0.0.1:1/nothing"]

every_write = each([operation for operation in OPERATIONS if operation.method != "GET"])
every_read = each([operation for operation in OPERATIONS if operation.method == "GET"])
every_with_database = each([operation for operation in OPERATIONS if operation.name != "get_liveness"])
every_with_tables = each([operation for operation in OPERATIONS if operation.table in RESOURCES])

# A trigger on a table, whose violation is found only at COMMIT.
_BREAK = {
    "sqlite": (
        f'CREATE TABLE "{SECRET}" (id INTEGER REFERENCES {{table}} (id) DEFERRABLE INITIALLY DEFERRED)',
        f'CREATE TRIGGER broken AFTER {{event}} ON {{table}} BEGIN INSERT INTO "{SECRET}" VALUES (-1); END',
    ),
    "postgresql": (
        f"CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION '{SECRET}'; END$$",
        (
            "CREATE CONSTRAINT TRIGGER broken AFTER {event} ON {table} DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION broken()"
        ),
    ),
}
_MEND = {
    "sqlite": ("DROP TRIGGER broken", f'DROP TABLE "{SECRET}"'),
    "postgresql": ("DROP TRIGGER broken ON {table}", "DROP FUNCTION broken"),
}
_EVENTS = {"POST": "INSERT", "PUT": "UPDATE", "DELETE": "DELETE"}


class Breakage:
    """Makes the COMMIT of an operation fail, and repairs it."""

    def __init__(self, engine, operation):
        self._engine = engine
        self._names = {"event": _EVENTS[operation.method], "table": operation.table}

    def begin(self):
        self._run(_BREAK)

    def end(self):
        self._run(_MEND)

    def _run(self, statements):
        with self._engine.begin() as connection:
            for statement in statements[connection.dialect.name]:
                connection.exec_driver_sql(statement.format(**self._names))


@pytest.fixture
def breakage(app, operation):
    with app.app.app_context():
        engine = db.engine
    breakage = Breakage(engine, operation)
    breakage.begin()
    yield breakage
    breakage.end()


@every_write
def test_500_when_the_commit_fails_and_nothing_is_stored(client, rows, breakage, operation, caplog):
    before = state(client)

    response = send(client, operation)

    assert_problem(response, 500, "The server met an unexpected condition.")
    assert SECRET not in str(response.headers)
    assert state(client) == before
    # The log has the details that the response leaves out.
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@every_write
def test_the_request_after_a_failed_commit_is_fine(request, client, app, rows, operation):
    with app.app.app_context():
        breakage = Breakage(db.engine, operation)
    breakage.begin()
    try:
        failed = [send(client, operation).status_code for _ in range(3)]
    finally:
        breakage.end()

    response = send(client, operation)

    assert failed == [500] * 3
    assert response.status_code in {200, 201}


@pytest.fixture(scope="module")
def tableless(database_url):
    """Requests to an application on an empty database."""
    if database_url.startswith("sqlite"):
        config = {"SQLALCHEMY_DATABASE_URI": "sqlite:///:memory:"}
    else:
        options = {"connect_args": {"options": "-c search_path=nowhere"}}
        config = {"SQLALCHEMY_DATABASE_URI": database_url, "SQLALCHEMY_ENGINE_OPTIONS": options}
    with application(**config) as app:
        yield app.test_client()


@every_with_tables
def test_500_when_there_are_no_tables(tableless, operation):
    response = send(tableless, operation)

    assert_problem(response, 500, "The server met an unexpected condition.")


@pytest.fixture(scope="module")
def embedded():
    """Requests to an application in which a user's own function raises an error in every request."""

    def fail():
        raise RuntimeError(SECRET)

    with application(SQLALCHEMY_DATABASE_URI="sqlite:///:memory:") as app:
        app.app.before_request(fail)
        yield app.test_client()


@each(OPERATIONS)
def test_500_when_a_function_around_the_handlers_fails(embedded, operation, caplog):
    response = send(embedded, operation)

    assert_problem(response, 500, "The server met an unexpected condition.")
    assert SECRET in caplog.text


@pytest.fixture(scope="module", params=UNREACHABLE, ids=["sqlite", "postgresql"])
def unreachable(request):
    """Requests to an application whose database does not exist."""
    with application(SQLALCHEMY_DATABASE_URI=request.param) as app:
        yield app.test_client()


@every_with_database
def test_503_when_the_database_does_not_exist(unreachable, operation):
    response = send(unreachable, operation)

    assert response.headers["retry-after"] == "1"
    assert_problem(response, 503, "The service is not available just now. Try again shortly.")


@every_with_database
def test_400_comes_before_503(unreachable, operation):
    response = send(unreachable, operation, f"{operation.url()}?x=1")

    assert response.status_code == 400


@pytest.fixture(scope="module")
def hurried(database_url):
    """Requests to an application on the run's database that waits 0.2 seconds for a lock."""
    with application(SQLALCHEMY_DATABASE_URI=database_url, API_LOCK_TIMEOUT_SECONDS=0.2) as app:
        yield app.test_client()


@pytest.fixture
def locked(app, rows, database_url):
    """Another connection has the tables locked against writes."""
    engine = create_engine(database_url)
    with engine.connect() as other:
        if engine.dialect.name == "sqlite":
            other.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            other.exec_driver_sql(f"LOCK TABLE {', '.join(RESOURCES)} IN EXCLUSIVE MODE")
        yield other
    engine.dispose()


@every_write
def test_503_when_the_database_is_locked_for_too_long(hurried, rows, locked, operation):
    before = state(hurried)

    response = send(hurried, operation)

    assert response.headers["retry-after"] == "1"
    assert_problem(response, 503, "The service is not available just now. Try again shortly.")
    assert state(hurried) == before


@every_read
def test_200_for_reads_while_the_database_is_locked_for_writes(hurried, locked, operation):
    assert send(hurried, operation).status_code == 200


@every_write
def test_the_request_after_the_lock_is_fine(hurried, locked, operation):
    refused = send(hurried, operation)
    locked.rollback()

    response = send(hurried, operation)

    assert (refused.status_code, response.status_code // 100) == (503, 2)


@pytest.fixture(scope="module")
def read_only(database_url):
    """Requests to an application on the run's database whose connections are read-only."""
    if database_url.startswith("sqlite"):
        path = database_url.removeprefix("sqlite:///")
        config = {"SQLALCHEMY_DATABASE_URI": f"sqlite:///file:{path}?mode=ro&uri=true"}
    else:
        options = {"connect_args": {"options": "-c default_transaction_read_only=on"}}
        config = {"SQLALCHEMY_DATABASE_URI": database_url, "SQLALCHEMY_ENGINE_OPTIONS": options}
    with application(**config) as app:
        yield app.test_client()


@every_write
def test_503_when_the_database_is_read_only(rows, read_only, operation):
    before = state(read_only)

    response = send(read_only, operation)

    assert response.headers["retry-after"] == "1"
    assert_problem(response, 503, "The service is not available just now. Try again shortly.")
    assert state(read_only) == before


@every_read
def test_200_for_reads_when_the_database_is_read_only(read_only, rows, operation):
    assert send(read_only, operation).status_code == 200
