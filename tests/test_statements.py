"""Statements on the driver give the same result as SQLAlchemy; statements that could differ go through SQLAlchemy."""

import datetime as dt
import enum
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    TypeDecorator,
    Uuid,
    bindparam,
    create_engine,
    delete,
    event,
    insert,
    literal,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.exc import (
    IntegrityError,
    InterfaceError,
    InvalidRequestError,
    OperationalError,
    ProgrammingError,
    StatementError,
)

from api import database, health, posts, users
from api.app import operations
from api.database import UtcDateTime, UtcNow, db
from api.database.statements import StatementRunner
from tests.applications import application

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
IDS = st.integers(0, 4)
YEAR_10, YEAR_9990 = dt.datetime(10, 1, 1), dt.datetime(9990, 1, 1)  # noqa: DTZ001  # hypothesis adds the zones
BIG = st.integers(-(2**63), 2**63 - 1)

# Every statement of the handlers, with strategies for its parameters.
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
    """A type that converts values when they are written and read."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value, _dialect):
        return value and value.upper()

    def process_result_value(self, value, _dialect):
        return value and value.lower()


class Unreadable(TypeDecorator):
    """A type that raises an error when a value is read."""

    impl = String
    cache_ok = True

    def process_result_value(self, _value, _dialect):
        return 1 / 0


class Kind(enum.Enum):
    ONE = "one"
    TWO = "two"


odd = Table(
    "odd",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("price", Numeric(10, 2)),
    Column("number", Integer, default=lambda: 7),
    Column("note", String(20), onupdate=lambda: "changed"),
)

cheap = Table(
    "cheap",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("number", Integer, default=lambda: 7),
    Column("note", String(20), onupdate=lambda: "changed"),
)

# A column of every type whose values are converted in the same way as SQLAlchemy does.
converted = Table(
    "converted",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime),
    Column("naive_at", DateTime),
    Column("day", Date),
    Column("is_on", Boolean),
    Column("kind", Enum(Kind)),
    Column("mark", Uuid),
    Column("name", Shouted),
    Column("made_at", UtcDateTime, server_default=UtcNow(), nullable=False),
    Column("number", Integer, server_default="7", nullable=False),
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
    yield from created(odd, db)


@pytest.fixture
def converted_table(db):
    yield from created(converted, db)


def created(table, db):
    with db.engine.begin() as connection:
        table.metadata.create_all(connection)
    yield
    with db.engine.begin() as connection:
        table.metadata.drop_all(connection)


def plainly(statement, parameters):
    """The result of SQLAlchemy, in a transaction that is rolled back."""
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

    assert runner._compiled(statement, frozenset(values)) is not None
    assert outcome(lambda: runner.fetch(statement, values)) == plainly(statement, values)


@pytest.mark.parametrize("name", WRITES)
@given(data=st.data())
@alike
def test_a_write_does_what_sqlalchemy_does(runner, name, data, empty, make_user, make_post):
    statement, parameters = WRITES[name]
    values = data.draw(st.fixed_dictionaries(parameters))
    results = []
    for change in (runner.change, lambda *given: runner._run_through_sqlalchemy(*given, commit=True)):
        empty()
        for number in range(1, 4):
            user = make_user(username=f"user{number}", email=f"user{number}@example.com")
            make_post(user_id=user["id"], title="Title", content="Content")
        answer = outcome(lambda change=change: change(statement, values))
        state = [runner.fetch(select(table).order_by(table.c.id), {}) for table in (users._users, posts._posts)]
        results.append((answer, state))

    assert runner._compiled(statement, frozenset(values)) is not None
    assert results[0] == results[1]


ZONES = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
VALUES = {
    "at": st.datetimes(YEAR_10, YEAR_9990, timezones=ZONES),
    "naive_at": st.datetimes(),
    "day": st.dates(),
    "is_on": st.booleans(),
    "kind": st.sampled_from(Kind),
    "mark": st.uuids(),
    "name": TEXTS,
}


@given(values=st.fixed_dictionaries({}, optional={name: st.none() | value for name, value in VALUES.items()}))
@alike
def test_values_are_converted_as_sqlalchemy_does(converted_table, db, runner, values):
    kept = [column for column in converted.c if column.name not in {"id", "made_at"}]
    written = insert(converted).returning(*kept)
    found = select(*kept).where(*(converted.c[name] == bindparam(name) for name, v in values.items() if v is not None))
    asked = {name: value for name, value in values.items() if value is not None}

    runner.change(delete(converted).returning(converted.c.id), {})

    assert runner._compiled(written, frozenset(values)) is not None
    assert runner._compiled(found, frozenset(asked)) is not None
    assert runner.change(written, values) == plainly(written, values)
    assert runner.fetch(found, asked) == plainly(found, asked) != []


def test_a_constant_of_the_statement_is_converted_too(converted_table, runner):
    at = dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.timezone(dt.timedelta(hours=5)))
    statement = insert(converted).values(at=at, kind=Kind.TWO).returning(converted.c.at, converted.c.kind)

    assert runner._compiled(statement, frozenset({"day"})) is not None
    assert runner.change(statement, {"day": None}) == [(at, Kind.TWO)]


@pytest.mark.parametrize("through_sqlalchemy", [False, True])
def test_the_databases_time_is_utc_and_compares_as_stored(converted_table, db, runner, through_sqlalchemy):
    run = runner._run_through_sqlalchemy if through_sqlalchemy else runner._run
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)

    ((at,),) = run(insert(converted).returning(converted.c.made_at), {"day": None}, commit=True)

    assert before < at < dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    assert at.tzinfo is dt.UTC
    for condition in (converted.c.made_at == at, converted.c.made_at > at - dt.timedelta(microseconds=1)):
        assert run(select(converted.c.made_at).where(condition), {}, commit=False) == [(at,)]


@pytest.mark.parametrize("through_sqlalchemy", [False, True])
def test_a_time_without_a_zone_is_refused(converted_table, runner, through_sqlalchemy):
    run = runner._run_through_sqlalchemy if through_sqlalchemy else runner._run

    with pytest.raises((ValueError, StatementError), match="without a time zone"):
        run(insert(converted).returning(converted.c.id), {"at": dt.datetime(2026, 1, 2)}, commit=True)  # noqa: DTZ001


@pytest.mark.parametrize("through_sqlalchemy", [False, True])
def test_a_row_that_cannot_be_returned_is_not_stored(converted_table, runner, through_sqlalchemy):
    returned = type_coerce(converted.c.name, Unreadable())
    run = runner._run_through_sqlalchemy if through_sqlalchemy else runner._run

    with pytest.raises(ZeroDivisionError):
        run(insert(converted).returning(returned), {"name": "ann"}, commit=True)

    assert runner.fetch(select(converted.c.id), {}) == []


def test_members_in_another_order_are_the_same_statement(runner):
    values = {"username": "ann", "email": "ann@example.com", "user_id": 5}

    for order in permutations(values):
        runner.change(users._UPDATE, {name: values[name] for name in order})

    assert runner._compiled.cache_info().misses == 1


@pytest.mark.parametrize("through_sqlalchemy", [False, True])
def test_a_value_looked_up_is_never_missing(on_postgresql, rows, database_url, through_sqlalchemy):
    """The author is stored after the statement has begun and while it waits for the row of another transaction."""
    other = create_engine(database_url)
    runner = StatementRunner(create_engine(database_url))
    if through_sqlalchemy:
        event.listen(runner.engine, "before_cursor_execute", lambda *_: None)
    values = {"id": 9, "title": "a", "content": "b", "user_id": 9}
    with other.connect() as connection, ThreadPoolExecutor(1) as thread:
        connection.execute(insert(posts._posts), {**values, "user_id": 1})
        answer = thread.submit(runner.change, posts._INSERT, values)
        wait_for_a_lock(other)
        with other.begin() as third:
            third.execute(insert(users._users), {"id": 9, "username": "late", "email": "late@example.com"})
        connection.rollback()
        assert answer.result(timeout=10) == [(9, "a", "b", 9, 9, "late", "late@example.com", '"1-1"')]
    runner.dispose()
    other.dispose()


def wait_for_a_lock(engine):
    """Wait until another connection waits for a lock."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            time.sleep(0.01)


ODD = {
    "a converted parameter": (insert(odd).returning(odd.c.id), {"price": Decimal("1.5"), "number": 1}, [(1,)]),
    "a converted column": (insert(odd).returning(odd.c.price), {"id": 1, "number": 1}, [(None,)]),
    "a default of Python's": (insert(odd).returning(odd.c.number), {"id": 5}, [(7,)]),
    "a value that changes by itself": (
        update(odd).returning(odd.c.note),
        {"number": 2},
        [],
    ),
    "a list of values": (select(odd.c.id).where(odd.c.id.in_([1, 2])), {}, []),
}


@pytest.mark.parametrize("name", ODD)
def test_a_statement_with_values_that_sqlalchemy_converts_or_adds_goes_through_it(odd_table, runner, name):
    statement, parameters, expected = ODD[name]

    assert runner._compiled(statement, frozenset(parameters)) is None
    assert runner.change(statement, parameters) == expected


def handler_of(**statements):
    """A function whose module has these statements."""
    namespace = {"__name__": "api.odd", **statements}
    exec("def get_odd(): pass", namespace)
    return namespace["get_odd"]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (select(odd.c.price), "the type of price is Numeric(precision=10, scale=2)"),
        (insert(odd).returning(odd.c.id), "the type of price is Numeric(precision=10, scale=2)"),
        (insert(cheap).returning(cheap.c.id), "Python computes the value of cheap.number"),
        (update(cheap).returning(cheap.c.id), "Python computes the value of cheap.note"),
        (select(cheap.c.id).where(cheap.c.id.in_([1])), "its SQL depends on a parameter's value"),
        (select(cheap.c.id).where(cheap.c.id == bindparam("a:b")), "the driver cannot take 'a:b' as a name"),
    ],
)
def test_a_statement_that_sqlalchemy_will_run_is_named_at_the_start(app, caplog, statement, reason):
    database.report_slow_statements(app.app, [handler_of(_STATEMENT=statement)] * 2)

    assert [record.message.split(": ")[0] for record in caplog.records] == [
        "api.odd._STATEMENT runs through SQLAlchemy, which takes longer"
    ]
    assert reason in caplog.text


def test_an_application_names_the_statements_of_its_handlers(caplog, monkeypatch):
    monkeypatch.setattr(users, "_PRICES", select(odd.c.price), raising=False)

    with application(SQLALCHEMY_DATABASE_URI="sqlite://"):
        assert [record.args[0] for record in caplog.records] == ["api.users._PRICES"]


def test_no_statement_of_the_handlers_is_named(app, caplog):
    statement = update(posts._posts).where(posts._posts.c.title == bindparam("title"))  # known only at its use
    found = [*operations(users, posts, health).values(), handler_of(_STATEMENT=statement)]

    database.report_slow_statements(app.app, found)

    assert caplog.records == []


def test_a_statement_that_the_start_did_not_know_is_named_at_its_first_use(odd_table, runner, caplog):
    for number in range(3):
        runner.fetch(select(odd.c.price).where(odd.c.id == number), {})
    runner.fetch(select(odd.c.id).where(odd.c.id.in_([1, 2])), {})

    assert [record.args for record in caplog.records] == [
        (
            "A statement (SELECT odd.price FROM odd WHERE odd.id = :id_1)",
            "the type of price is Numeric(precision=10, scale=2)",
        ),
        (
            "A statement (SELECT odd.id FROM odd WHERE odd.id IN (__[POSTCOMPILE_id_1]))",
            "its SQL depends on a parameter's value, as a list of values does",
        ),
    ]


def test_a_statement_named_at_the_start_is_not_named_again(odd_table, runner, caplog):
    statement = select(odd.c.price)
    runner.report("api.odd._STATEMENT", statement)

    runner.fetch(statement, {})

    assert len(caplog.records) == 1


def test_a_constant_of_the_statement_is_sent_too(runner):
    statement = select(literal(5), bindparam("given", type_=Integer), literal("x"))

    assert runner._compiled(statement, frozenset({"given"})) is not None
    assert runner.fetch(statement, {"given": 6}) == plainly(statement, {"given": 6}) == [(5, 6, "x")]


def test_a_listener_of_the_engine_gets_every_statement(rows, db):
    runner = StatementRunner(create_engine(db.engine.url))  # its own engine: SQLAlchemy never resets the flag
    before = runner.fetch(users._SELECT, {"user_id": 1})
    heard = []

    @event.listens_for(runner.engine, "before_cursor_execute")
    def listen(_connection, _cursor, statement, *_):
        heard.append(statement)

    after = runner.fetch(users._SELECT, {"user_id": 1})
    runner.dispose()

    assert after == before
    assert len(heard) == 1


def test_an_error_is_the_same_as_with_sqlalchemy(runner):
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


def test_a_mistake_in_the_parameters_keeps_no_lock(on_sqlite, runner, database_url):
    """Even while the exception exists, which refers to the statement that the driver had begun."""
    with pytest.raises(ProgrammingError) as kept:
        runner.change(users._UPDATE, {"user_id": 1, "email": object()})

    other = create_engine(database_url, connect_args={"timeout": 0})
    with other.begin() as connection:
        connection.execute(delete(users._users))
    other.dispose()
    assert kept.value.__cause__ is kept.value.orig


@pytest.mark.parametrize("fail", [lambda _: 1 / 0, lambda _: {}["missing"]], ids=["ZeroDivisionError", "KeyError"])
def test_no_error_is_its_own_cause(runner, fail):
    """Whoever follows the causes of an error comes to an end."""
    statement = users._SELECT
    compiled = runner._compiled  # once connected, for the dialect
    runner.fetch(select(literal(1)), {})
    runner._compiled = lambda *given: compiled(*given)._replace(arguments=fail)
    with pytest.raises((ZeroDivisionError, KeyError)) as ours:
        runner.fetch(statement, {"user_id": 1})
    runner._compiled = compiled
    with pytest.raises((OperationalError, ProgrammingError)) as translated:
        runner.fetch(text("SELECT * FROM nothing"), {})

    for raised in (ours.value, translated.value):
        assert len(list(_causes(raised, most=5))) < 5
    assert runner.engine.pool.checkedout() == 0
    assert runner.fetch(select(literal(1)), {}) == [(1,)]


def _causes(error, *, most):
    while error is not None and most:
        yield error
        error, most = error.__cause__, most - 1


def test_a_connection_is_used_again(runner):
    runner.fetch(select(literal(1)), {})
    runner.fetch(select(literal(2)), {})

    assert runner.engine.pool.checkedout() == 1


def test_a_connection_in_use_is_closed_after_its_statement(runner):
    first, second = runner._take(), runner._take()
    runner._give_back(first)
    runner.dispose()
    opened = runner._take()  # the runner is in use again and keeps this connection
    runner._give_back(opened)
    kept = len(runner._idle)
    runner.dispose()
    runner._give_back(second)

    assert kept == 1
    assert [taken[0].dbapi_connection for taken in (first, second, opened)] == [None, None, None]
    assert runner._idle == []


def test_a_connection_goes_back_to_a_pool_that_the_configuration_chose(db):
    runner = StatementRunner(db.engine, keep=False)

    runner.fetch(select(literal(1)), {})

    assert runner.engine.pool.checkedout() == 0


def test_statements_that_sqlalchemy_runs_find_a_connection(db):
    """The connections that are kept open fill the pool; one of them is returned to it."""
    runner = StatementRunner(create_engine(db.engine.url, pool_size=2, max_overflow=0, pool_timeout=0.2))
    taken = [runner._take() for _ in range(2)]
    for connection in taken:
        runner._give_back(connection)

    asked = select(literal(1)).where(literal(1).in_([1, 2]))

    assert runner._compiled(asked, frozenset()) is None
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

        unready = client.get("/api/health/ready")  # the table of revisions does not exist

        assert (created.status_code, unready.status_code) == (201, 503)
        assert client.get("/api/users").json() == [created.json()]
