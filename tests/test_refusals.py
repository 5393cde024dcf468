"""A refused row raises the problem of its constraint, on both databases, with a fault for every violated constraint."""

import gc
import sqlite3
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    create_engine,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, OperationalError

from api.database import Base, UtcDateTime
from api.database.refusals import problem_of
from api.database.statements import StatementRunner
from contractapp import Fault, Problem


class Refused(Problem):
    status = 400

    def __init__(self):
        super().__init__(errors=[Fault("body", self.pointer, self.default_detail)])


def problem(name, pointer):
    return type(name, (Refused,), {"default_detail": name, "pointer": pointer})


UnknownShelf = problem("UnknownShelf", "/shelf_id")
UnknownOwner = problem("UnknownOwner", "/owner_id")
UnknownPart = problem("UnknownPart", "/part_of")
CodeTaken = problem("CodeTaken", "/code")
PlaceTaken = problem("PlaceTaken", "/place")
TooLow = problem("TooLow", "/place")
IdTaken = problem("IdTaken", "/id")

metadata = MetaData(naming_convention=Base.metadata.naming_convention)
shelves = Table("shelves", metadata, Column("id", Integer, primary_key=True))
owners = Table("owners", metadata, Column("id", Integer, primary_key=True))
books = Table(
    "books",
    metadata,
    Column("id", Integer),
    Column("shelf_id", Integer),
    Column("owner_id", Integer),
    Column("part_of", Integer),
    Column("label_id", Integer),
    Column("code", String(20)),
    Column("place", Integer),
    Column("lent_at", UtcDateTime),
    PrimaryKeyConstraint("id", info={"problem": IdTaken}),
    UniqueConstraint("code", info={"problem": CodeTaken}),
    ForeignKeyConstraint(["shelf_id"], ["shelves.id"], info={"problem": UnknownShelf}),
    UniqueConstraint("shelf_id", "place", info={"problem": PlaceTaken}),
    ForeignKeyConstraint(["owner_id"], ["owners.id"], info={"problem": UnknownOwner}),
    ForeignKeyConstraint(["part_of"], ["books.id"], info={"problem": UnknownPart}),
    ForeignKeyConstraint(["label_id"], ["owners.id"]),
    CheckConstraint("place > 0", name="place_is_positive", info={"problem": TooLow}),
    UniqueConstraint("lent_at", "owner_id", info={"problem": PlaceTaken}),
)
loans = Table(
    "loans",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("book_id", Integer),
    Column("owner_id", Integer),
    UniqueConstraint("owner_id", info={"problem": CodeTaken}),
    ForeignKeyConstraint(
        ["book_id"], ["books.id"], deferrable=True, initially="DEFERRED", info={"problem": UnknownPart}
    ),
)

ADD = insert(books).returning(books.c.id)
MOVE = update(books).where(books.c.id == bindparam("book_id")).returning(books.c.id)
BOOK = {"id": 1, "shelf_id": 1, "owner_id": 1, "code": "a", "place": 1}


@pytest.fixture(params=["on the driver", "through SQLAlchemy"])
def runner(request, app, database_url):
    with runner_of(database_url) as runner:
        if request.param == "through SQLAlchemy":
            event.listen(runner.engine, "before_cursor_execute", lambda *_: None)
        yield runner


@contextmanager
def runner_of(database_url):
    """A runner like the one of `write`, on a database with a shelf, an owner and two books."""
    options = {"connect_args": {"isolation_level": "IMMEDIATE"}} if database_url.startswith("sqlite") else {}
    engine = create_engine(database_url, **options)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys = ON"))
    runner = StatementRunner(engine)
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(insert(shelves), [{"id": 1}, {"id": 2}])
        connection.execute(insert(owners), {"id": 1})
        connection.execute(insert(books), [BOOK, {**BOOK, "id": 2, "code": "b", "place": 2}])
    yield runner
    with engine.begin() as connection:
        metadata.drop_all(connection)
    runner.dispose()


def refusal(runner, statement, parameters, explain=problem_of):
    """The type of the problem, and the pointers of its faults."""
    before = runner.fetch(select(books).order_by(books.c.id), {})
    with pytest.raises(Problem) as refused:
        runner.change(statement, parameters, explain)

    assert runner.fetch(select(books).order_by(books.c.id), {}) == before
    assert refused.value.detail == type(refused.value).default_detail
    return type(refused.value), [fault.pointer for fault in refused.value.errors]


NEW = {"id": 3, "shelf_id": 1, "owner_id": 1, "part_of": None, "code": "c", "place": 3}


@pytest.mark.parametrize(
    ("values", "broken"),
    [
        ({"shelf_id": 9}, [UnknownShelf]),
        ({"owner_id": 9}, [UnknownOwner]),
        ({"shelf_id": 9, "owner_id": 9}, [UnknownShelf, UnknownOwner]),
        ({"owner_id": 9, "part_of": 9}, [UnknownOwner, UnknownPart]),
        ({"code": "a"}, [CodeTaken]),
        ({"place": 1}, [PlaceTaken]),
        ({"id": 1}, [IdTaken]),
        ({"id": 1, "code": "b", "place": 1}, [IdTaken, CodeTaken, PlaceTaken]),
        ({"code": "a", "shelf_id": 9, "owner_id": 9}, [CodeTaken, UnknownShelf, UnknownOwner]),
        ({"place": 0}, [TooLow]),
        ({"place": 0, "code": "a", "owner_id": 9}, [CodeTaken, UnknownOwner, TooLow]),
    ],
)
def test_every_constraint_that_a_new_row_violates_is_reported(runner, values, broken):
    told = refusal(runner, ADD, {**NEW, **values})

    assert told == (broken[0], [problem.pointer for problem in broken])


@pytest.mark.parametrize(
    ("values", "broken"),
    [
        ({"shelf_id": 9}, [UnknownShelf]),
        ({"shelf_id": 9, "owner_id": 9}, [UnknownShelf, UnknownOwner]),
        ({"code": "a"}, [CodeTaken]),
        ({"code": "b", "owner_id": 9}, [UnknownOwner]),
        ({"code": "a", "owner_id": 9}, [CodeTaken, UnknownOwner]),
        ({"place": 1}, [PlaceTaken]),
        ({"place": 1, "code": "a"}, [CodeTaken, PlaceTaken]),
        ({"place": 1, "shelf_id": 2, "owner_id": 9}, [UnknownOwner]),
        ({"id": 1, "code": "a"}, [IdTaken, CodeTaken]),
        ({"id": 2, "code": "a"}, [CodeTaken]),
    ],
)
def test_every_constraint_that_a_change_violates_is_reported(runner, values, broken):
    """The change is to book 2; its unchanged values and the book itself do not conflict."""
    told = refusal(runner, MOVE, {"book_id": 2, **values})

    assert told == (broken[0], [problem.pointer for problem in broken])


def test_a_parent_that_is_not_given_or_null_is_not_unknown(runner):
    assert refusal(runner, ADD, {"id": 3, "owner_id": None, "code": "a"}) == (CodeTaken, ["/code"])
    assert runner.change(ADD, {"id": 3, "owner_id": None}, problem_of) == [(3,)]


def test_values_of_the_statements_own_are_looked_up_too(runner):
    statement = ADD.values(
        code="a", owner_id=bindparam("owner"), shelf_id=select(shelves.c.id + 8).limit(1).scalar_subquery()
    )

    assert refusal(runner, statement, {"id": 3, "owner": 9})[1] == ["/code", "/shelf_id", "/owner_id"]


def test_a_changed_value_may_build_on_the_one_before(runner):
    statement = MOVE.values(place=books.c.place - 1, owner_id=books.c.owner_id + 8)

    assert refusal(runner, statement, {"book_id": 2}) == (PlaceTaken, ["/place", "/owner_id"])


def test_a_time_is_looked_up_as_it_is_stored(runner):
    lent = {"lent_at": datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=3)))}
    runner.change(MOVE, {"book_id": 1, **lent})

    assert refusal(runner, MOVE, {"book_id": 2, "code": "a", **lent}) == (CodeTaken, ["/code", "/place"])


def test_a_conflict_that_the_statement_handles_is_not_reported(runner):
    made = {"sqlite": sqlite, "postgresql": postgresql}[runner.engine.dialect.name].insert(books)
    statement = made.on_conflict_do_update(index_elements=["code"], set_={"place": 1}).returning(books.c.id)

    assert refusal(runner, statement, {**NEW, "code": "b"}) == (PlaceTaken, ["/place"])


def test_a_constraint_without_a_problem_stays_an_error(runner):
    with pytest.raises(IntegrityError):
        runner.change(ADD, {**NEW, "label_id": 9}, problem_of)


def test_a_delete_refused_by_a_foreign_key_is_not_an_unknown_row(runner):
    with pytest.raises(IntegrityError):
        runner.change(delete(shelves).where(shelves.c.id == 1).returning(shelves.c.id), {}, problem_of)


def test_a_constraint_checked_at_the_commit_is_reported(runner):
    statement = insert(loans).returning(loans.c.id)

    told = refusal(runner, statement, {"id": 1, "book_id": 9, "owner_id": 1})

    assert told == (UnknownPart, ["/part_of"])
    assert runner.change(statement, {"id": 1, "book_id": 1, "owner_id": 1}, problem_of) == [(1,)]


def test_no_write_can_happen_between_the_refusal_and_its_explanation(on_sqlite, runner, database_url):
    other = create_engine(database_url, connect_args={"timeout": 0})

    def late(*given):
        problem = problem_of(*given)
        with pytest.raises(OperationalError, match="locked"), other.begin() as connection:
            connection.execute(insert(owners), {"id": 9})
        return problem

    assert refusal(runner, ADD, {**NEW, "owner_id": 9}, late) == (UnknownOwner, ["/owner_id"])
    other.dispose()


def test_a_constraint_is_reported_although_the_other_row_was_deleted_meanwhile(on_postgresql, runner, database_url):
    other = create_engine(database_url)

    def late(*given):
        with other.begin() as connection:
            connection.execute(delete(books))
        return problem_of(*given)

    with pytest.raises(CodeTaken) as refused:
        runner.change(ADD, {**NEW, "code": "b", "place": 1}, late)
    assert [fault.pointer for fault in refused.value.errors] == ["/code"]
    other.dispose()


def test_a_constraint_is_reported_although_the_connection_was_lost_meanwhile(on_postgresql, runner, database_url):
    other = create_engine(database_url)

    def late(connection, *given):
        pid = connection.connection.driver_connection.info.backend_pid
        with other.begin() as killer:
            killer.exec_driver_sql("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        return problem_of(connection, *given)

    assert refusal(runner, ADD, {**NEW, "code": "b", "place": 1}, late) == (CodeTaken, ["/code"])
    other.dispose()


def test_a_refusal_leaves_nothing_to_the_garbage_collector(app, database_url):
    """Collecting an open cursor would block the collecting thread while another thread uses the connection."""
    with runner_of(database_url) as runner:
        gc.collect()
        gc.disable()
        try:
            before = cursors()
            for values in ({"code": "a"}, {"owner_id": 9}, {"label_id": 9}):
                with suppress(Problem, IntegrityError):
                    runner.change(ADD, {**NEW, **values}, problem_of)
            after = cursors()
        finally:
            gc.enable()

    assert after == before


def cursors():
    return sum(isinstance(found, sqlite3.Cursor | psycopg.Cursor) for found in gc.get_objects())


def test_the_cursor_of_a_refused_statement_is_closed(on_sqlite, app, database_url):
    with runner_of(database_url) as runner, pytest.raises(IntegrityError) as kept:
        runner.change(ADD, {**NEW, "label_id": 9}, problem_of)

    with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
        kept.traceback[-1].frame.f_locals["cursor"].execute("SELECT 1")
