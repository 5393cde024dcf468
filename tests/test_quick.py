"""Short reads of SQLite run in the event loop's thread; a read that is not short, or must wait, leaves it."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from functools import partial

import pytest
from sqlalchemy import bindparam, event, select, text
from sqlalchemy.exc import DBAPIError

from api import database, db, users
from api.models import User
from contractapp import Workers
from tests.applications import application
from tests.handlers import handled

SLOW = text(
    "WITH RECURSIVE n (x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 3000000) SELECT count(*) FROM n"
)
NAMES = text("SELECT username FROM users")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "quick.db"


@pytest.fixture
def service(path):
    """The context of an application on an SQLite file with one user."""
    with application(SQLALCHEMY_DATABASE_URI=f"sqlite:///{path}") as app, app.app.app_context():
        db.create_all()
        database.write(users._INSERT, {"username": "ann", "email": "a"})
        yield app.app


@pytest.fixture
def runners(service):
    return service.extensions["api.database"]


@pytest.fixture
def quick(service):
    return service.extensions["api.database.loop"]._quick


@pytest.fixture
def workers():
    workers = Workers()
    yield workers
    workers.close()


def test_a_short_read_runs_at_once_with_the_rows_that_a_thread_gives(runners, quick):
    parameters = {"user_id": 1}

    assert (
        [*quick.fetch(users._SELECT, parameters)]
        == [*runners.reader.fetch(users._SELECT, parameters)]
        == [(1, "ann", "a", '"1"')]
    )


def test_a_long_read_is_ended_and_not_begun_again_for_a_while(quick):
    log = []
    event.listen(quick.runner.engine, "connect", lambda connection, _: connection.set_trace_callback(log.append))

    results = [quick.fetch(SLOW, {}) for _ in range(3)]

    assert results == [None] * 3
    assert log.count(str(SLOW)) == 1
    assert quick.fetch(NAMES, {}) == [("ann",)]


def test_a_long_read_holds_up_no_other_one(service, workers):
    """The short read begins when the long one waits, and ends before it."""

    async def both():
        ended = []

        async def run(name, statement):
            rows = await handled(partial(database.read, statement, {}), workers)
            ended.append((name, rows))

        await asyncio.gather(run("long", SLOW), run("short", NAMES))
        return ended

    assert asyncio.run(both()) == [("short", [("ann",)]), ("long", [(3000000,)])]


def test_a_locked_database_is_not_waited_for(path, service, quick):
    quick.runner.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        database.dispose(service)
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")

        assert quick.fetch(NAMES, {}) is None


def test_a_read_that_fails_is_reported_with_the_error_of_a_thread(service, workers):
    with pytest.raises(DBAPIError, match="no such table: nowhere"):
        asyncio.run(handled(partial(database.read, text("SELECT 1 FROM nowhere"), {}), workers))


def test_a_replaced_file_is_read(path, tmp_path, service, quick):
    before = quick.fetch(NAMES, {})
    database.dispose(service)  # writes the log back into the file
    shutil.copy(path, tmp_path / "other.db")
    quick.fetch(NAMES, {})
    with closing(sqlite3.connect(tmp_path / "other.db")) as other, other:
        other.execute("UPDATE users SET username = 'bob'")
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    (tmp_path / "other.db").rename(path)

    assert (before, quick.fetch(NAMES, {})) == ([("ann",)], [("bob",)])


def test_while_another_event_loop_uses_the_connection_a_thread_reads(quick):
    taken = quick.runner._take()

    meanwhile = quick.fetch(NAMES, {})
    quick.runner._give_back(taken)

    assert meanwhile is None
    assert quick.fetch(NAMES, {}) == [("ann",)]


def test_several_event_loops_can_read_and_write_at_the_same_time(service, workers):
    async def work(number):
        name = f"u{number}"
        (user_id, *_) = await handled(
            partial(database.write, users._INSERT, {"username": name, "email": name}), workers
        )
        return await handled(partial(database.read, users._SELECT, {"user_id": user_id}), workers)

    async def loops():
        return await asyncio.gather(*(asyncio.to_thread(_in_context, service, work, number) for number in range(8)))

    assert sorted(name for ((_, name, *_),) in asyncio.run(loops())) == [f"u{number}" for number in range(8)]


def _in_context(service, work, number):
    with service.app_context():
        return asyncio.run(work(number))


def test_listeners_see_every_read(runners, quick, service, workers):
    seen = []
    event.listen(runners.reader.engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))

    rows = asyncio.run(handled(partial(database.read, NAMES, {}), workers))

    assert rows == [("ann",)]
    assert seen == [str(NAMES)]


def test_a_statement_for_sqlalchemy_gives_its_rows(service, workers):
    some = select(User.__table__.c.username).where(User.__table__.c.id.in_(bindparam("ids", expanding=True)))

    assert asyncio.run(handled(partial(database.read, some, {"ids": [1, 2]}), workers)) == [("ann",)]


def test_a_change_that_the_queue_refuses_is_not_kept(service):
    """The only thread is busy and one change waits, so that a third one is refused."""
    workers = Workers(write_threads=1, queue_size=1)
    group = service.extensions["api.database.loop"]._group

    async def three():
        calls = [partial(database.write, users._INSERT, {"username": name, "email": name}) for name in ("b", "c", "d")]
        group._lock.acquire()
        running = [asyncio.ensure_future(handled(calls[0], workers))]
        while workers.write._jobs is None or workers.write._jobs.qsize():  # noqa: ASYNC110  # until a thread has it
            await asyncio.sleep(0.01)
        running.append(asyncio.ensure_future(handled(calls[1], workers)))
        running.append(asyncio.ensure_future(handled(calls[2], workers)))
        await asyncio.sleep(0)
        waiting = [change.parameters["username"] for change in group._waiting]
        group._lock.release()
        results = await asyncio.gather(*running, return_exceptions=True)
        workers.close()
        return waiting, [type(result).__name__ for result in results]

    assert asyncio.run(three()) == (["b", "c"], ["tuple", "tuple", "Unavailable"])
