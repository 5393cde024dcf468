"""Sets up connections to PostgreSQL: timeouts that are in force, and no prepared statements behind a pooler.

Behind a pooler such as PgBouncer in transaction mode, many clients share a server connection, one transaction after
another. A prepared statement of one client is then visible to the next: a GET that ran its prepared statement `_pg3_0`
ran the DELETE of another client with this name (PgBouncer 1.18: 107 of 700 users were lost, deleted by no client).
"""

from math import ceil
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event

from api.config import Settings

Connection = psycopg.Connection[Any]


def prepare(engine: Engine, settings: Settings) -> None:
    """Set up every new connection of an engine; if its timeouts are not in force, connecting fails."""
    timeouts = {
        "statement_timeout": ceil(settings.statement_timeout_seconds * 1000),
        "lock_timeout": ceil(settings.lock_timeout_seconds * 1000),
    }

    def set_up(connection: Connection, _entry: object) -> None:
        try:
            shared = is_shared(connection)
            if settings.prepared_statements == "off" or (settings.prepared_statements == "auto" and shared):
                connection.prepare_threshold = None
            _limit(connection, timeouts, shared=shared)
            _verify(connection, timeouts)
            connection.rollback()
        except BaseException:
            connection.close()
            raise

    event.listen(engine, "connect", set_up)


def is_shared(connection: Connection) -> bool:
    """Whether there is a pooler between client and server, which may give one server connection to several clients.

    The server sends its process id when a client connects (for cancellation), and on request. A pooler replaces the
    first with a number of its own, PgBouncer in each of its modes (pgbouncer/pgbouncer#1296).
    """
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row != (connection.info.backend_pid,)


def _limit(connection: Connection, timeouts: dict[str, int], *, shared: bool) -> None:
    """Set the timeouts: once for the connection or, if it is shared, at the beginning of each transaction."""
    connection.rollback()
    if shared:
        connection.autocommit = False  # in autocommit mode SET LOCAL has no effect on the next statement
        connection.cursor_factory = _limited_cursor(timeouts)
    else:
        connection.execute("; ".join(f"SET {name} = {ms}" for name, ms in timeouts.items()).encode())
        connection.commit()  # a rollback would undo SET


def _limited_cursor(timeouts: dict[str, int]) -> type[psycopg.Cursor[Any]]:
    """A class of cursors that set the timeouts before the first statement of each transaction."""
    set_local = "; ".join(f"SET LOCAL {name} = {ms}" for name, ms in timeouts.items()).encode()

    class LimitedCursor(psycopg.Cursor[Any]):
        def execute(self, *arguments: Any, **options: Any) -> Any:
            self._begin()
            return super().execute(*arguments, **options)

        def executemany(self, *arguments: Any, **options: Any) -> None:
            self._begin()
            super().executemany(*arguments, **options)

        def _begin(self) -> None:
            if self.connection.info.transaction_status == TransactionStatus.IDLE:
                super().execute(set_local)

    return LimitedCursor


def _verify(connection: Connection, timeouts: dict[str, int]) -> None:
    statement = "SELECT name, setting::bigint FROM pg_settings WHERE name = ANY(%s)"
    found = dict(connection.execute(statement, [list(timeouts)]).fetchall())
    wrong = [f"{name} is {found.get(name)} ms, not {ms} ms" for name, ms in timeouts.items() if found.get(name) != ms]
    if wrong:
        raise psycopg.OperationalError(f"its timeouts are not in force: {', '.join(wrong)}")
