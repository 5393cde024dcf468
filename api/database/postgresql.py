"""What a connection to PostgreSQL needs: timeouts that are in force, and no prepared statement that another can meet.

Behind a pooler such as PgBouncer in transaction mode a server's connection serves many clients, one transaction each,
and whatever a client leaves on it is met by the next: a GET that asked for its prepared statement `_pg3_0` ran another
client's DELETE of that name (PgBouncer 1.18: 107 of 700 users that nobody had deleted).
"""

from math import ceil
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event

from api.config import Settings

Connection = psycopg.Connection[Any]


def prepare(engine: Engine, settings: Settings) -> None:
    """Have every new connection of an engine set up; one whose timeouts are not in force is an error."""
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
    """Whether something stands in between that hands out the server's connections, to be taken for a pooler.

    A server tells its process id twice: when a client connects, for it to cancel by, and when it is asked. A pooler
    answers the first with a number of its own, PgBouncer in each of its modes (pgbouncer/pgbouncer#1296).
    """
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row != (connection.info.backend_pid,)


def _limit(connection: Connection, timeouts: dict[str, int], *, shared: bool) -> None:
    """Set the timeouts: for the connection, or anew in each transaction where others may use it in between."""
    connection.rollback()
    if shared:
        connection.autocommit = False  # a statement alone would be a transaction that has no timeouts
        connection.cursor_factory = _limited_cursor(timeouts)
    else:
        connection.execute("; ".join(f"SET {name} = {ms}" for name, ms in timeouts.items()).encode())
        connection.commit()  # a rollback would take them back


def _limited_cursor(timeouts: dict[str, int]) -> type[psycopg.Cursor[Any]]:
    """A cursor whose statement has the timeouts set first when it begins a transaction."""
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
