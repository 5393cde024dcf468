"""On PostgreSQL, handlers wait for the sockets of their connections in the event loop: nothing blocks it or is lost."""

import asyncio
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    MetaData,
    Table,
    bindparam,
    delete,
    event,
    insert,
    literal_column,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from api import database, posts, users
from api.models import UsernameTaken
from contractapp import Problem, Unavailable, Workers
from tests.applications import application
from tests.handlers import handled
from tests.test_postgresql import LIMITS, pooled_url  # noqa: F401  # a fixture

pytestmark = pytest.mark.usefixtures("on_postgresql")

NAMES = text("SELECT username FROM users ORDER BY id")
SLOW = text("SELECT 'slow' FROM pg_sleep(1)")
ENDLESS = text("SELECT 1 FROM pg_sleep(3600)")
KEY = 4711  # of an advisory lock
LOCKED = text(f"SELECT 'locked' FROM pg_advisory_xact_lock({KEY})")
PID = text("SELECT pg_backend_pid()")
NAME = "waiting"  # of the connections of the application under test
ANN = {"username": "ann", "email": "ann@example.com"}


@pytest.fixture
def workers():
    workers = Workers()
    yield workers
    workers.close()


@pytest.fixture
def serve(app, database_url, workers):
    """A context of an application with these settings; gives its runners of handlers that wait."""

    @contextmanager
    def serve(url=database_url, **config):
        options = {"connect_args": {"application_name": NAME}}
        config = {"SQLALCHEMY_DATABASE_URI": url, "SQLALCHEMY_ENGINE_OPTIONS": options, **config}
        with application(**config) as served, served.app.app_context():
            yield served.app.extensions["api.database.loop"]

    return serve


@pytest.fixture
def other(database_url):
    """A connection of another program."""
    with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as connection:
        yield connection
        # A statement whose request is over goes on until its own time is over.
        connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = %s", [NAME]
        )


@pytest.fixture
def read(workers):
    def read(statement, parameters=None, *, seconds=600):
        return handled(partial(database.read, statement, parameters or {}), workers, seconds=seconds)

    return read


@pytest.fixture
def write(workers):
    def write(statement, parameters, *, seconds=600):
        return handled(partial(database.write, statement, parameters), workers, seconds=seconds)

    return write


def new(name):
    return users._INSERT, {"username": name, "email": name}


def active(other, query):
    """The server's processes that run a statement of the application which contains this text."""
    other.execute("SELECT pg_stat_clear_snapshot()")  # of the transaction, if there is one
    found = other.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND state = 'active' AND query LIKE %s",
        [NAME, f"%{query}%"],
    )
    return [pid for (pid,) in found]


async def until(condition):
    async with asyncio.timeout(60):
        while not (found := condition()):  # noqa: ASYNC110  # the server does not report
            await asyncio.sleep(0.01)
    return found


def opened(other):
    return other.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [NAME]).fetchone()[0]


async def failed(waiting):
    """The type of the exception that ends this."""
    return type((await asyncio.gather(waiting, return_exceptions=True))[0])


def test_a_slow_statement_holds_up_no_other_request(serve, read):
    async def scenario():
        ended = []

        async def run(statement):
            ended.extend(await read(statement))

        await asyncio.gather(run(SLOW), run(text("SELECT 'fast'")), run(text("SELECT 'fast'")))
        return ended

    with serve():
        assert asyncio.run(scenario()) == [("fast",), ("fast",), ("slow",)]


def test_no_thread_runs_the_statements_once_connections_are_open(serve, read, write, workers):
    async def scenario():
        await read(NAMES)
        await write(*new("ann"))
        put = []
        for lane in (workers.read, workers.write):
            lane.put = put.append  # a job here would never be run
        (user_id, *_) = await write(*new("bob"))
        await write(users._UPDATE, {"user_id": user_id, "username": "cid"})
        return put, await read(NAMES)

    with serve():
        assert asyncio.run(scenario()) == ([], [("ann",), ("cid",)])


@pytest.mark.parametrize("config", [{"API_LOCK_TIMEOUT_SECONDS": 0.3}, {"API_STATEMENT_TIMEOUT_SECONDS": 0.3}])
def test_a_locked_table_ends_in_503_and_others_are_read_meanwhile(serve, read, write, other, config):
    async def scenario():
        locked = [asyncio.ensure_future(failed(read(NAMES))), asyncio.ensure_future(failed(write(*new("ann"))))]
        rows = await read(text("SELECT 'others'"))
        return rows, await asyncio.gather(*locked)

    with serve(**config), other.transaction():
        other.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        rows, outcomes = asyncio.run(scenario())

    assert rows == [("others",)]
    assert outcomes == [Unavailable, Unavailable]


def test_at_the_deadline_of_a_request_its_connection_is_closed_and_another_one_used(serve, read, other):
    async def scenario():
        before = time.monotonic()
        outcome = await failed(read(ENDLESS, seconds=0.2))
        return outcome, time.monotonic() - before, await read(NAMES)

    with serve(API_READ_THREADS=1):
        outcome, seconds, rows = asyncio.run(scenario())

    assert outcome is Unavailable
    assert seconds < 60
    assert rows == []


def test_a_request_whose_time_ends_while_a_refusal_is_explained_leaves_no_busy_connection(serve, workers, write):
    """The rows of the UPDATE are looked at before COMMIT, those of the INSERT are not."""

    def explain(connection, *_):
        connection.exec_driver_sql("SELECT pg_sleep(3600)")

    def refused(change):
        return failed(handled(partial(change, *new("ann"), explain), workers, seconds=0.2))

    async def scenario(loop):
        await write(*new("ann"))
        outcome = await refused(loop.change)
        return outcome, [(await write(*new(name)))[1] for name in ("bob", "cid")]

    with serve(API_WRITE_THREADS=1) as loop:
        assert asyncio.run(scenario(loop)) == (Unavailable, ["bob", "cid"])


def test_only_so_many_wait_as_the_queue_takes_and_whoever_gave_up_does_not_count(serve, read, other):
    async def scenario():
        running = asyncio.ensure_future(read(LOCKED))
        await until(lambda: active(other, "advisory"))
        first = asyncio.ensure_future(failed(read(NAMES, seconds=0.2)))
        await asyncio.sleep(0)
        refused = await failed(read(NAMES))
        is_waiting = not first.done()
        gave_up = await first
        second = asyncio.ensure_future(read(NAMES))
        await asyncio.sleep(0)
        other.execute("SELECT pg_advisory_unlock(%s)", [KEY])
        return refused, is_waiting, gave_up, await running, await second

    other.execute("SELECT pg_advisory_lock(%s)", [KEY])
    with serve(API_READ_THREADS=1, API_QUEUE_SIZE=1):
        outcomes = asyncio.run(scenario())

    assert outcomes == (Unavailable, True, Unavailable, [("locked",)], [])


def test_no_turn_is_lost_however_requests_end(serve, read, write):
    """Many more requests than connections; some are cancelled, some end at their deadline, some are refused."""

    async def scenario(loop):
        await write(*new("ann"))
        requests = []
        for number in range(120):
            match number % 4:
                case 0:
                    request = read(text("SELECT 1 FROM pg_sleep(0.01)"))
                case 1:
                    request = read(ENDLESS, seconds=0.1)
                case 2:
                    request = write(*new("ann"))
                case _:
                    request = read(text("SELECT 1 / 0"))
            requests.append(asyncio.ensure_future(failed(request)))
            if number % 10 == 9:
                await asyncio.sleep(0.01)
                requests[-4 if number % 20 == 9 else -1].cancel()
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        free = [(runner._free, len(runner._queue)) for runner in (loop._reads, loop._changes)]
        return {type(one) if isinstance(one, BaseException) else one for one in outcomes}, free

    with serve(API_READ_THREADS=3, API_WRITE_THREADS=2) as loop:
        outcomes, free = asyncio.run(scenario(loop))

    assert {UsernameTaken, Unavailable, asyncio.CancelledError} <= outcomes
    assert free == [(3, 0), (2, 0)]


def test_an_idle_connection_that_the_server_ends_is_no_longer_watched_and_the_next_read_is_answered(serve, read, other):
    async def scenario(loop):
        ((pid,),) = await read(PID)
        ((connection, *_),) = loop._reads._idle
        other.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])
        await until(lambda: connection.dbapi_connection._loop is None)
        return await read(NAMES)

    with serve() as loop:
        assert asyncio.run(scenario(loop)) == []


def test_a_read_whose_connection_the_server_ends_is_run_again(serve, read, other):
    async def scenario():
        reading = asyncio.ensure_future(read(SLOW))
        (pid,) = await until(lambda: active(other, "pg_sleep"))
        other.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])
        return await reading

    with serve():
        assert asyncio.run(scenario()) == [("slow",)]


def test_a_change_whose_connection_the_server_ends_is_503_and_not_run_again(serve, read, write, other):
    async def scenario():
        await read(NAMES)
        changing = asyncio.ensure_future(failed(write(*new("ann"))))
        (pid,) = await until(lambda: active(other, "INSERT"))
        other.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])
        return await changing

    with serve():
        with other.transaction():
            other.execute("LOCK TABLE users IN SHARE MODE")
            outcome = asyncio.run(scenario())
        stored = other.execute("SELECT count(*) FROM users").fetchone()

    assert outcome is Unavailable
    assert stored == (0,)


def test_dispose_closes_idle_connections_at_once_and_others_when_they_are_done(serve, read, other):
    async def scenario(loop):
        waiting = asyncio.ensure_future(read(LOCKED))
        await until(lambda: active(other, "advisory"))
        await asyncio.gather(read(NAMES), read(NAMES))
        loop.dispose()
        await until(lambda: opened(other) == 1)
        other.execute("SELECT pg_advisory_unlock(%s)", [KEY])
        rows = await waiting
        await until(lambda: opened(other) == 0)
        return rows

    other.execute("SELECT pg_advisory_lock(%s)", [KEY])
    with serve() as loop:
        assert asyncio.run(scenario(loop)) == [("locked",)]


def test_connections_closed_in_another_thread_leave_no_descriptor(serve, read):
    def descriptors():
        return [*Path("/proc/self/fd").iterdir()]

    async def scenario(loop):
        before = len(descriptors())
        await asyncio.gather(*(read(text("SELECT 1")) for _ in range(4)))
        await asyncio.to_thread(loop.dispose)
        await asyncio.sleep(0)
        return len(descriptors()) - before

    with serve() as loop:
        asyncio.run(scenario(loop))  # opens what stays open, such as the threads' own descriptors
        assert asyncio.run(scenario(loop)) <= 0


def test_several_event_loops_of_a_process_do_not_wait_for_each_other(serve, read, write, other):
    """The first one uses the connections that handlers wait for; the others use threads, until it is closed."""
    served = []

    def run(loop_of_thread):
        with application_context():
            served.append(asyncio.run(loop_of_thread))

    async def blocked():
        return await read(LOCKED)

    other.execute("SELECT pg_advisory_lock(%s)", [KEY])
    with serve(API_READ_THREADS=1):
        flask_app = database.access.current_app._get_current_object()
        application_context = flask_app.app_context
        thread = threading.Thread(target=run, args=[blocked()], daemon=True)
        thread.start()
        asyncio.run(until(lambda: active(other, "advisory")))
        meanwhile = asyncio.run(read(NAMES, seconds=60))
        other.execute("SELECT pg_advisory_unlock(%s)", [KEY])
        thread.join(60)
        asyncio.run(write(*new("ann")))

        assert (meanwhile, served, asyncio.run(read(NAMES))) == ([], [[("locked",)]], [("ann",)])


def test_behind_a_pooler_the_timeouts_hold_and_problems_are_the_same(serve, read, write, pooled_url):  # noqa: F811
    async def scenario():
        first = await write(*new("ann"))
        taken = await failed(write(*new("ann")))
        unknown = await failed(write(posts._INSERT, {"title": "a", "content": "b", "user_id": 999}))
        second = await write(users._UPDATE, {"user_id": first[0], "username": "bob"})
        return taken, issubclass(unknown, Problem), second[1], await read(LIMITS), await read(NAMES)

    with serve(pooled_url, API_STATEMENT_TIMEOUT_SECONDS=7, API_LOCK_TIMEOUT_SECONDS=0.25):
        assert asyncio.run(scenario()) == (UsernameTaken, True, "bob", [("7s", "250ms")], [("bob",)])


def test_listeners_see_every_statement(serve, read, write):
    seen = []

    async def scenario():
        await write(*new("ann"))
        return await read(NAMES)

    with serve():
        for runner in database.access._runners():
            event.listen(runner.engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
        rows = asyncio.run(scenario())

    assert rows == [("ann",)]
    assert [statement.split()[0] for statement in seen] == ["INSERT", "SELECT"]


dated = Table("dated", MetaData(), Column("id", BigInteger), Column("at", DateTime(timezone=True)))


@pytest.mark.parametrize(
    "statement",
    [
        insert(dated).values(id=2),
        update(dated)
        .values(at=literal_column("'infinity'"))
        .where(dated.c.id == bindparam("key"))
        .returning(dated.c.at),
        delete(dated),
    ],
    ids=["no RETURNING", "a time that the driver cannot read", "no RETURNING either"],
)
def test_a_change_whose_rows_cannot_be_returned_is_not_stored(serve, write, other, statement):
    other.execute("CREATE TABLE dated (id bigint, at timestamptz); INSERT INTO dated VALUES (1, 'epoch')")
    before = other.execute("SELECT id, at::text FROM dated").fetchall()
    try:
        with serve(), pytest.raises(DBAPIError):
            asyncio.run(write(statement, {"key": 1} if statement.is_update else {}))

        assert other.execute("SELECT id, at::text FROM dated").fetchall() == before
    finally:
        other.execute("DROP TABLE dated")


def test_a_refused_change_of_checked_rows_leaves_its_connection_in_autocommit_mode(serve, write, read):
    """The RETURNING clause of a post has the author's name, so that the rows are checked before COMMIT."""

    async def scenario(loop):
        refused = await failed(write(posts._INSERT, {"title": "a", "content": "b", "user_id": 999}))
        (user_id, *_) = await write(*new("ann"))
        await write(posts._INSERT, {"title": "a", "content": "b", "user_id": user_id})
        return refused, [autocommit for *_, autocommit in loop._changes._idle]

    with serve(API_WRITE_THREADS=1) as loop:
        refused, modes = asyncio.run(scenario(loop))

    assert issubclass(refused, Problem)
    assert modes == [True]
