"""Connections to PostgreSQL: their timeouts are in force and do not affect other clients of a pooler."""

import socket
import struct
import threading
from contextlib import contextmanager, suppress

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from api.config import Settings
from api.database import postgresql

pytestmark = pytest.mark.usefixtures("on_postgresql")

LIMITS = text("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")


@contextmanager
def connected(url, *, autocommit=False, **settings):
    """A connection that was set up, of an engine like the reader's or the writer's."""
    options = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True} if autocommit else {}
    engine = create_engine(url, **options)
    given = {"API_STATEMENT_TIMEOUT_SECONDS": 7, "API_LOCK_TIMEOUT_SECONDS": 0.25, **settings}
    postgresql.prepare(engine, Settings.from_config({"SQLALCHEMY_DATABASE_URI": url, **given}))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def driver_of(connection):
    return connection.connection.driver_connection


@pytest.fixture
def pooled_url(database_url):
    """The URL of the database behind a proxy that, like a pooler, sends the client a different process id."""
    with psycopg.connect(database_url.replace("+psycopg", "")) as direct:
        info = direct.info
        server = f"{info.host}/.s.PGSQL.{info.port}"
        name = f"{info.user}@127.0.0.1:{{port}}/{info.dbname}"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_relay_all, args=(listener, server), daemon=True).start()
        yield f"postgresql+psycopg://{name.format(port=listener.getsockname()[1])}"


def _relay_all(listener, server):
    with suppress(OSError):  # the test has ended
        while True:
            client, _ = listener.accept()
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(server)
            threading.Thread(target=_relay_both, args=(client, upstream), daemon=True).start()


def _relay_both(client, upstream):
    with client, upstream:
        answers = threading.Thread(target=_relay, args=(upstream, client, _with_another_pid), daemon=True)
        answers.start()
        _relay(client, upstream, bytes)
        answers.join()


def _relay(source, target, change):
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(change(data))
        target.shutdown(socket.SHUT_WR)


def _with_another_pid(data):
    """The message BackendKeyData consists of K, its length, the process id and the key."""
    head = data.find(b"K\x00\x00\x00")
    if head < 0 or b"server_version" not in data[:head]:
        return data
    (pid,) = struct.unpack_from("!i", data, head + 5)
    return data[: head + 5] + struct.pack("!i", pid + 1) + data[head + 9 :]


@pytest.mark.parametrize("autocommit", [False, True])
def test_the_timeouts_hold_for_the_connection(database_url, autocommit):
    with connected(database_url, autocommit=autocommit) as connection:
        first = connection.execute(LIMITS).one()
        connection.rollback()
        second = connection.execute(LIMITS).one()
        threshold = driver_of(connection).prepare_threshold

    assert first == second == ("7s", "250ms")
    assert threshold == 5  # psycopg's default


@pytest.mark.parametrize("autocommit", [False, True])
def test_behind_a_pooler_the_timeouts_hold_for_each_transaction_and_no_longer(pooled_url, autocommit):
    with connected(pooled_url, autocommit=autocommit) as connection:
        limits = []
        for end in (connection.rollback, connection.commit, connection.rollback):
            limits.append(connection.execute(LIMITS).one())
            end()
        driver = driver_of(connection)
        driver.rollback()
        left = psycopg.Cursor(driver).execute(str(LIMITS)).fetchone()

    assert limits == [("7s", "250ms")] * 3
    assert left == ("0", "0")


def test_behind_a_pooler_many_rows_at_once_are_limited_too(pooled_url):
    with connected(pooled_url) as connection:
        cursor = driver_of(connection).cursor()
        cursor.execute("CREATE TEMPORARY TABLE seen (limits text)")
        cursor.connection.commit()
        cursor.executemany("INSERT INTO seen SELECT current_setting(%s)", [("statement_timeout",), ("lock_timeout",)])
        cursor.execute("SELECT limits FROM seen")
        found = cursor.fetchall()

    assert found == [("7s",), ("250ms",)]


@pytest.mark.parametrize(("chosen", "direct", "pooled"), [("auto", 5, None), ("on", 5, 5), ("off", None, None)])
def test_statements_are_prepared_where_it_is_safe_or_as_the_setting_says(
    database_url, pooled_url, chosen, direct, pooled
):
    found = []
    for url in (database_url, pooled_url):
        with connected(url, API_PREPARED_STATEMENTS=chosen) as connection:
            for _ in range(10):  # psycopg can prepare only a single statement
                connection.execute(LIMITS).one()
                connection.commit()
            found.append(driver_of(connection).prepare_threshold)

    assert found == [direct, pooled]


def test_a_timeout_that_is_not_in_force_is_an_error_that_names_it(database_url):
    """A different database might accept the setting without applying it; here a function does that."""
    user = psycopg.conninfo.conninfo_to_dict(database_url.replace("+psycopg", "")).get("user", "postgres")
    with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute("CREATE SCHEMA deaf")
        owner.execute(
            "CREATE VIEW deaf.pg_settings AS SELECT name, CASE name WHEN 'lock_timeout' THEN '0' ELSE setting END"
            " AS setting FROM pg_catalog.pg_settings"
        )
        owner.execute(f"ALTER ROLE {user} SET search_path = deaf, pg_catalog, public")
        try:
            with pytest.raises(OperationalError) as refusal, connected(database_url):
                pass
        finally:
            owner.execute(f"ALTER ROLE {user} RESET search_path")
            owner.execute("DROP SCHEMA deaf CASCADE")

    assert str(refusal.value.orig) == "its timeouts are not in force: lock_timeout is 0 ms, not 250 ms"
