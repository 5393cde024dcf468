"""Statements on the driver itself give what SQLAlchemy gives; those that could differ go through it."""

import datetime as dt

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    DateTime,
    Enum,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    bindparam,
    create_engine,
    event,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError, InterfaceError, InvalidRequestError, OperationalError, ProgrammingError

from api import health, posts, users
from api.database import db
from api.database.statements import StatementRunner
from tests.applications import application

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
IDS = st.integers(0, 4)
BIG = st.integers(-(2**63), 2**63 - 1)

# Every statement of the handlers, and what its parameters may be.
READS = {
    "get_user": (users._SELECT, {"user_id": IDS | BIG}),
    "get_post": (posts._SELECT, {"post_id": IDS | BIG}),
    "list_users": (users._PAGE, {"after": IDS | BIG, "count": IDS}),
    "list_posts": (posts._PAGE, {"after": IDS | BIG, "count": IDS}),
    "list_posts_of_user": (posts._PAGE_OF_USER, {"after": IDS, "count": IDS, "user_id": IDS | BIG}),
    "get_readiness": (health._REVISION, {}),
}
WRITES = {
    "create_user": (users._INSERT, {"username": TEXTS, "email": TEXTS}),
    "update_username": (users._UPDATE, {"user_id": IDS, "username": TEXTS}),
    "update_user": (users._UPDATE, {"user_id": IDS, "email": TEXTS, "username": TEXTS}),
    "delete_user": (users._DELETE, {"user_id": IDS}),
    "create_post": (posts._INSERT, {"title": TEXTS, "content": TEXTS, "user_id": IDS}),
    "update_title": (posts._UPDATE, {"post_id": IDS, "title": TEXTS}),
    "update_post": (posts._UPDATE, {"content": TEXTS, "post_id": IDS, "title": TEXTS}),
    "delete_post": (posts._DELETE, {"post_id": IDS}),
}

alike = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Shouted(TypeDecorator):
    """Converts on the way in and out."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value, _dialect):
        return value.upper()

    def process_result_value(self, value, _dialect):
        return value.lower()


odd = Table(
    "odd",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("at", DateTime),
    Column("kind", Enum("one", "two", native_enum=False)),
    Column("name", Shouted),
    Column("number", Integer, default=lambda: 7),
    Column("note", String(20), onupdate=lambda: "changed"),
)


@pytest.fixture
def runner(db):
    runner = StatementRunner(db.engine)
    yield runner
    runner.dispose()


@pytest.fixture
def rows(make_user, make_post):
    """Three users with a post each."""
    for _ in range(3):
        make_post(user_id=make_user()["id"])


@pytest.fixture
def odd_table(db):
    with db.engine.begin() as connection:
        odd.create(connection)
    yield
    with db.engine.begin() as connection:
        odd.drop(connection)


def plainly(statement, parameters):
    """What SQLAlchemy gives, in a transaction that is rolled back."""
    with db.engine.connect() as connection:
        try:
            return [tuple(row) for row in connection.execute(statement, parameters)]
        finally:
            connection.rollback()


def outcome(call):
    try:
        return [tuple(row) for row in call()]
    except IntegrityError as error:
        return type(error), type(error.orig)


@pytest.mark.parametrize("name", READS)
@given(data=st.data())
@alike
def test_a_read_gives_what_sqlalchemy_gives(rows, runner, name, data):
    statement, parameters = READS[name]
    values = data.draw(st.fixed_dictionaries(parameters))

    assert runner._compiled(statement, tuple(values)) is not None
    assert outcome(lambda: runner.fetch(statement, values)) == plainly(statement, values)


@pytest.mark.parametrize("name", WRITES)
@given(data=st.data())
@alike
def test_a_write_does_what_sqlalchemy_does(runner, name, data, empty, make_user, make_post):
    statement, parameters = WRITES[name]
    values = data.draw(st.fixed_dictionaries(parameters))
    results = []
    for change in (runner.change, lambda *given: runner._run_plainly(*given, commit=True)):
        empty()
        for number in range(1, 4):
            user = make_user(username=f"user{number}", email=f"user{number}@example.com")
            make_post(user_id=user["id"], title="Title", content="Content")
        answer = outcome(lambda change=change: change(statement, values))
        state = [runner.fetch(select(table).order_by(table.c.id), {}) for table in (users._users, posts._posts)]
        results.append((answer, state))

    assert runner._compiled(statement, tuple(values)) is not None
    assert results[0] == results[1]


AT = dt.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  # as the column has it
ODD = {
    "a converted parameter": (insert(odd).returning(odd.c.id), {"name": "ann", "number": 1}, [(1,)]),
    "a converted column": (insert(odd).returning(odd.c.at), {"at": AT, "number": 1}, [(AT,)]),
    "a default of Python's": (insert(odd).returning(odd.c.number), {"id": 5}, [(7,)]),
    "an enumeration": (insert(odd).returning(odd.c.kind), {"kind": "one", "number": 1}, [("one",)]),
    "a value that changes by itself": (
        update(odd).returning(odd.c.note),
        {"number": 2},
        [],
    ),
    "a list of values": (select(odd.c.id).where(odd.c.id.in_([1, 2])), {}, []),
}


@pytest.mark.parametrize("name", ODD)
def test_what_sqlalchemy_converts_or_adds_goes_through_it(odd_table, runner, name):
    statement, parameters, expected = ODD[name]

    assert runner._compiled(statement, tuple(parameters)) is None
    assert runner.change(statement, parameters) == expected


def test_a_constant_of_the_statement_is_sent_too(runner):
    statement = select(literal(5), bindparam("given", type_=Integer), literal("x"))

    assert runner._compiled(statement, ("given",)) is not None
    assert runner.fetch(statement, {"given": 6}) == plainly(statement, {"given": 6}) == [(5, 6, "x")]


def test_who_listens_to_the_engine_hears_every_statement(rows, db):
    runner = StatementRunner(create_engine(db.engine.url))  # SQLAlchemy remembers that somebody listened to an engine
    before = runner.fetch(users._SELECT, {"user_id": 1})
    heard = []

    @event.listens_for(runner.engine, "before_cursor_execute")
    def listen(_connection, _cursor, statement, *_):
        heard.append(statement)

    after = runner.fetch(users._SELECT, {"user_id": 1})
    runner.dispose()

    assert after == before
    assert len(heard) == 1


def test_an_error_is_that_of_sqlalchemy(runner):
    with pytest.raises((OperationalError, ProgrammingError)) as ours:
        runner.fetch(text("SELECT * FROM nothing"), {})
    with pytest.raises((OperationalError, ProgrammingError)) as theirs:
        plainly(text("SELECT * FROM nothing"), {})

    assert type(ours.value) is type(theirs.value)
    assert type(ours.value.orig) is type(theirs.value.orig)
    assert ours.value.statement == theirs.value.statement


def test_a_mistake_in_the_parameters_leaves_a_connection_that_works(runner):
    with pytest.raises((InterfaceError, ProgrammingError)):
        runner.fetch(users._SELECT, {"user_id": object()})

    assert runner.fetch(select(literal(1)), {}) == [(1,)]


def test_a_connection_is_used_again(runner):
    runner.fetch(select(literal(1)), {})
    runner.fetch(select(literal(2)), {})

    assert runner.engine.pool.checkedout() == 1


def test_a_connection_goes_back_to_a_pool_that_decides(db):
    runner = StatementRunner(db.engine, keep=False)

    runner.fetch(select(literal(1)), {})

    assert runner.engine.pool.checkedout() == 0


def test_statements_that_sqlalchemy_runs_find_a_connection(db):
    """Kept connections hold all places of the pool; one of them is given up."""
    runner = StatementRunner(create_engine(db.engine.url, pool_size=2, max_overflow=0, pool_timeout=0.2))
    taken = [runner._take() for _ in range(2)]
    for connection in taken:
        runner._give_back(connection)

    asked = select(literal(1)).where(literal(1).in_([1, 2]))

    assert runner._compiled(asked, ()) is None
    assert runner.fetch(asked, {}) == runner.fetch(asked, {}) == [(1,)]
    runner.dispose()


def test_a_statement_that_cannot_be_compiled_keeps_no_connection(runner):
    with pytest.raises(InvalidRequestError):
        runner.fetch(users._SELECT, {})

    assert runner.engine.pool.checkedout() == 0


def test_a_mistake_does_not_empty_a_database_in_memory():
    with application(SQLALCHEMY_DATABASE_URI="sqlite://") as app:
        with app.app.app_context():
            db.create_all()
        client = app.test_client()
        created = client.post("/api/users", json={"username": "ann", "email": "ann@example.com"})

        unready = client.get("/api/health/ready")  # there is no table of revisions

        assert (created.status_code, unready.status_code) == (201, 503)
        assert client.get("/api/users").json() == [created.json()]
