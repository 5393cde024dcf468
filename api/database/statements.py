"""Runs Core statements directly on the driver: compiled once, on connections that stay open between requests.

Getting a row by its id takes 80 µs of CPU time through SQLAlchemy on SQLite and 164 on PostgreSQL, but 8 and 45 here
(SQLAlchemy 2.1, psycopg 3.3, Python 3.11). Values are converted in the same way as SQLAlchemy converts them
(`tests/test_statements.py` compares the two). A statement that the driver alone cannot run goes through SQLAlchemy,
and the log names it. If an engine has event listeners, all its statements go through SQLAlchemy.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, NoReturn

from sqlalchemy import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection, StaticPool

from api.database.compilation import (
    CompiledStatement,
    LeftToSQLAlchemy,
    Parameters,
    Rows,
    Statement,
    compile_statement,
    lookups,
    reason_to_leave,
)
from api.database.errors import hide_values

logger = logging.getLogger("api.database")

# A connection that is not returned to the pool, the cursor for all its statements, and whether it is AUTOCOMMIT.
Open = tuple[PoolProxiedConnection, DBAPICursor, bool]

# Returns the exception to raise instead of a constraint's error, or None to raise the error itself.
Explain = Callable[[Connection, IntegrityError, Statement, Parameters], Exception | None]


class StatementRunner:
    """Runs single statements for one engine. Thread-safe: each running call has its own connection.

    A connection stays open between calls; `is_good` says whether it may be used again. Without `keep` it goes back to
    the engine's pool after each statement.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        keep: bool = True,
        is_good: Callable[[PoolProxiedConnection], bool] | None = None,
    ) -> None:
        self.engine = engine
        self._dbapi = engine.dialect.loaded_dbapi
        self._keep = keep
        self._is_good = is_good
        self._idle: list[Open] = []  # without a lock: `append` and `pop` of a list are atomic
        self._disposed = False
        # The key has the names as a set: the order of the members of a body makes no difference.
        self._compiled = lru_cache(maxsize=256)(self._compile)
        self._reported: set[str] = set()  # reasons: a statement that each request builds anew is logged only once

    @property
    def has_events(self) -> bool:
        """Whether the engine has event listeners, so that statements go through SQLAlchemy."""
        return bool(self.engine._has_events)  # noqa: SLF001  # SQLAlchemy has no other way to ask

    def fetch(self, statement: Statement, parameters: Parameters) -> Rows:
        """The rows of a statement that changes nothing; raises what SQLAlchemy would raise."""
        return self._run(statement, parameters, commit=False)

    def change(self, statement: Statement, parameters: Parameters, explain: Explain | None = None) -> Rows:
        """Run a statement and commit; the rows of its RETURNING clause. Raises what SQLAlchemy would raise.

        If a constraint refuses a row, the exception that `explain` returns is raised instead of the error. On SQLite,
        `explain` is called in the transaction of the refused statement, which holds the write lock.
        """
        return self._run(statement, parameters, commit=True, explain=explain)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for several statements in one transaction, which is rolled back unless it was committed."""
        self._release()
        with self.engine.connect() as connection:
            yield connection

    def report(self, name: str, statement: Statement) -> None:
        """Log the name of a statement that the driver alone cannot run, with the reason, as far as it is known."""
        reason = reason_to_leave(statement, self.engine.dialect)
        if reason is not None:
            self._reported.add(reason)
            self._log(name, reason)

    def dispose(self) -> None:
        """Close all connections: idle ones now, the others when their statements have ended."""
        self._disposed = True  # reset when a new connection is opened
        self._close_idle()
        self.engine.dispose()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop()[0].invalidate()

    def _run(
        self, statement: Statement, parameters: Parameters, *, commit: bool, explain: Explain | None = None
    ) -> Rows:
        if self.has_events:
            return self._run_through_sqlalchemy(statement, parameters, commit=commit, explain=explain)
        # Before compiling: the dialect learns the features of the database when the first connection is opened.
        taken = self._take()
        try:
            compiled = self._compiled(statement, frozenset(parameters))
        except SQLAlchemyError:
            taken[0].close()
            raise
        if compiled is None:
            taken[0].close()  # back to the pool, from which SQLAlchemy takes it again
            return self._run_through_sqlalchemy(statement, parameters, commit=commit, explain=explain)
        return self._run_on(taken, compiled, statement, parameters, commit=commit, explain=explain)

    def _run_on(
        self,
        taken: Open,
        compiled: CompiledStatement,
        statement: Statement,
        parameters: Parameters,
        *,
        commit: bool,
        explain: Explain | None,
    ) -> Rows:
        connection, cursor, autocommit = taken
        opened: Any = connection.dbapi_connection
        # In AUTOCOMMIT mode, a change would be stored before its rows were looked at.
        begins = commit and autocommit and compiled.is_checked
        try:
            if begins:
                opened.autocommit = False
            rows = self._executed(compiled, opened, cursor, parameters)
            if commit:
                opened.commit()
            elif not autocommit:
                opened.rollback()
        except self._dbapi.IntegrityError as error:
            # Otherwise the garbage collector would close the cursor later, in any thread, and block that thread while
            # another one uses the connection.
            cursor.close()
            if begins:
                self._end(taken)
            with Connection(self.engine, connection=connection) as explained:  # gives it back to the pool
                raise _explained(
                    explained, self._translated(error, compiled.sql), statement, parameters, explain
                ) from error
        except BaseException as error:  # noqa: BLE001  # raised again by `_fail`
            self._fail(taken, compiled.sql, error)
        if begins:
            opened.autocommit = True
        self._give_back(taken)
        return rows

    @staticmethod
    def _executed(compiled: CompiledStatement, opened: Any, cursor: DBAPICursor, parameters: Parameters) -> Rows:
        arguments = compiled.arguments(parameters)
        cursor.execute(compiled.sql, arguments)
        rows = cursor.fetchall()
        if compiled.lookups and is_incomplete(rows, compiled.lookups):
            opened.rollback()
            cursor.execute(compiled.sql, arguments)
            rows = cursor.fetchall()
        if compiled.rows is not None:
            rows = compiled.rows(rows)  # before the commit: a row whose conversion fails is not stored
        return rows

    def _run_through_sqlalchemy(
        self, statement: Statement, parameters: Parameters, *, commit: bool, explain: Explain | None = None
    ) -> Rows:
        self._release()
        with self.engine.connect() as connection:
            try:
                rows = connection.execute(statement, parameters).all()
                if is_incomplete(rows, lookups(statement)):
                    connection.rollback()
                    rows = connection.execute(statement, parameters).all()
                if commit:
                    connection.commit()
            except IntegrityError as error:
                # A new Connection on the same driver connection: after a failed COMMIT the old one runs no statements.
                explained = Connection(self.engine, connection=connection.connection)
                raise _explained(explained, error, statement, parameters, explain) from error.orig
        return rows

    def _take(self) -> Open:
        while self._idle:
            try:
                taken = self._idle.pop()
            except IndexError:  # another thread took the last one
                break
            if self._is_good is None or self._is_good(taken[0]):
                return taken
            taken[0].invalidate()
        try:
            connection = self.engine.raw_connection()
        except self._dbapi.Error as error:
            raise self._translated(error, "") from error
        self._disposed = False
        opened: Any = connection.dbapi_connection
        autocommit = self.engine.dialect.detect_autocommit_setting(opened)
        return connection, connection.cursor(), autocommit

    def _give_back(self, taken: Open) -> None:
        if not self._keep:
            taken[0].close()
            return
        self._idle.append(taken)
        if self._disposed:
            self._close_idle()

    def _fail(self, taken: Open, sql: str, error: BaseException) -> NoReturn:
        """Drop the connection; raise a driver's error as SQLAlchemy does, and any other error unchanged."""
        connection, cursor, _ = taken
        if not isinstance(error, self._dbapi.Error):
            self._drop(taken, error)
            raise error
        # After its table was altered, a prepared statement fails with 0A000 on this connection from then on.
        lost = getattr(error, "sqlstate", None) == "0A000"
        lost = lost or self.engine.dialect.is_disconnect(error, connection.driver_connection, cursor)
        self._drop(taken, error)
        if lost:
            self.dispose()  # the other connections have most likely the same fault
        raise self._translated(error, sql, lost=lost) from error

    def _end(self, taken: Open) -> None:
        """End the transaction of a connection that is else in AUTOCOMMIT mode."""
        opened: Any = taken[0].dbapi_connection
        try:
            opened.rollback()
            opened.autocommit = True
        except BaseException as error:  # noqa: BLE001  # raised again by `_fail`
            self._fail(taken, "", error)

    def _drop(self, taken: Open, error: BaseException) -> None:
        connection, cursor, _ = taken
        with suppress(self._dbapi.Error):
            cursor.close()  # an open statement keeps SQLite's write lock, even after its connection was closed
        if isinstance(self.engine.pool, StaticPool):  # a database in memory would be lost
            connection.close()
        else:
            connection.invalidate(error)

    def _release(self) -> None:
        """Return one idle connection to the pool, which may have no other free connection."""
        with suppress(IndexError):
            self._idle.pop()[0].close()

    def _translated(self, error: Exception, sql: str, *, lost: bool = False) -> BaseException:
        dialect = self.engine.dialect
        hide_values(error)
        return DBAPIError.instance(
            sql, None, error, self._dbapi.Error, hide_parameters=True, connection_invalidated=lost, dialect=dialect
        )

    def _compile(self, statement: Statement, names: frozenset[str]) -> CompiledStatement | None:
        """The statement, compiled for values with these names; None if it must go through SQLAlchemy."""
        try:
            return compile_statement(statement, names, self.engine.dialect)
        except LeftToSQLAlchemy as error:
            reason = str(error)
        if reason not in self._reported:
            self._reported.add(reason)
            self._log(f"A statement ({' '.join(str(statement).split())[:100]})", reason)
        return None

    def _log(self, name: str, reason: str) -> None:
        logger.warning("%s runs through SQLAlchemy, which takes longer: %s.", name, reason)


def is_incomplete(rows: Rows, lookups: Sequence[int]) -> bool:
    """Whether a looked-up value is missing.

    PostgreSQL looks up values in the state at the beginning of the statement, but checks foreign keys at its end. A
    row that was inserted in between satisfies the foreign key, but is found only when the statement runs again.
    """
    return any(row[place] is None for row in rows for place in lookups)


def _explained(
    connection: Connection, error: BaseException, statement: Statement, parameters: Parameters, explain: Explain | None
) -> BaseException:
    if explain is None or not isinstance(error, IntegrityError):
        return error
    try:
        return explain(connection, error, statement, parameters) or error
    except BaseException:  # also the end of the request's time: the query may still run on the connection
        connection.invalidate()
        raise
