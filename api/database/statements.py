"""Core statements on the driver itself: compiled once, run on connections that stay open between requests.

A row by its id costs 80 µs of CPU through SQLAlchemy's own execution on SQLite and 164 on PostgreSQL, and 8 and 45
here (SQLAlchemy 2.1, psycopg 3.3, Python 3.11). Values are converted as SQLAlchemy converts them
(`tests/test_statements.py` compares the two). A statement that only SQLAlchemy can run goes through it and is named in
the log. All statements of an engine that somebody listens to go through it too.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
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

# A connection that the pool does not get back, the cursor that all its statements go through, whether it is AUTOCOMMIT.
_Open = tuple[PoolProxiedConnection, DBAPICursor, bool]

# What is raised instead of the error of a constraint, or None; from the error, the statement and its parameters.
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
        self._idle: list[_Open] = []  # appended to and popped from, each of which is atomic
        self._disposed = False
        # By the set of names: members of a body in another order are the same statement.
        self._compiled = lru_cache(maxsize=256)(self._compile)
        self._reported: set[str] = set()  # reasons, so that a statement built for one request is not named at each

    def fetch(self, statement: Statement, parameters: Parameters) -> Rows:
        """The rows of a statement that changes nothing; raises what SQLAlchemy would raise."""
        return self._run(statement, parameters, commit=False)

    def change(self, statement: Statement, parameters: Parameters, explain: Explain | None = None) -> Rows:
        """The rows that a statement RETURNs, committed; raises what SQLAlchemy would raise.

        Where a constraint refuses, what `explain` returns is raised instead of the error. On SQLite it is called in
        the refused statement's transaction, which holds the write lock.
        """
        return self._run(statement, parameters, commit=True, explain=explain)

    def report(self, name: str, statement: Statement) -> None:
        """Say in the log that a statement will not run on the driver itself, and why, as far as that is known."""
        reason = reason_to_leave(statement, self.engine.dialect)
        if reason is not None:
            self._reported.add(reason)
            self._log(name, reason)

    def dispose(self) -> None:
        """Close every connection: the idle ones now, each of the others as soon as its statement has ended."""
        self._disposed = True  # until another one is opened
        self._close_idle()
        self.engine.dispose()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop()[0].invalidate()

    def _run(
        self, statement: Statement, parameters: Parameters, *, commit: bool, explain: Explain | None = None
    ) -> Rows:
        if self.engine._has_events:  # noqa: SLF001  # SQLAlchemy has no other way to ask
            return self._run_through_sqlalchemy(statement, parameters, commit=commit, explain=explain)
        taken = connection, cursor, autocommit = self._take()  # first: only a connected dialect knows its database
        try:
            compiled = self._compiled(statement, frozenset(parameters))
        except SQLAlchemyError:
            connection.close()
            raise
        if compiled is None:
            connection.close()  # back to the pool: it is wanted there at once
            return self._run_through_sqlalchemy(statement, parameters, commit=commit, explain=explain)
        try:
            arguments = compiled.arguments(parameters)
            cursor.execute(compiled.sql, arguments)
            rows = cursor.fetchall()
            if compiled.lookups and _is_incomplete(rows, compiled.lookups):
                connection.rollback()
                cursor.execute(compiled.sql, arguments)
                rows = cursor.fetchall()
            if compiled.rows is not None:
                rows = compiled.rows(rows)  # before the commit: a row that cannot be answered is not stored either
            if commit:
                connection.commit()
            elif not autocommit:
                connection.rollback()
        except self._dbapi.IntegrityError as error:
            # Else the garbage collector would, in any thread, wait for whichever thread uses the connection by then.
            cursor.close()
            with Connection(self.engine, connection=connection) as explained:  # gives it back to the pool
                raise _explained(
                    explained, self._translated(error, compiled.sql), statement, parameters, explain
                ) from error
        except BaseException as error:  # noqa: BLE001  # raised again by `_fail`
            self._fail(taken, compiled.sql, error)
        self._give_back(taken)
        return rows

    def _run_through_sqlalchemy(
        self, statement: Statement, parameters: Parameters, *, commit: bool, explain: Explain | None = None
    ) -> Rows:
        self._release()
        with self.engine.connect() as connection:
            try:
                rows = connection.execute(statement, parameters).all()
                if _is_incomplete(rows, lookups(statement)):
                    connection.rollback()
                    rows = connection.execute(statement, parameters).all()
                if commit:
                    connection.commit()
            except IntegrityError as error:
                # As if anew: what failed in COMMIT takes no statement any more.
                explained = Connection(self.engine, connection=connection.connection)
                raise _explained(explained, error, statement, parameters, explain) from error.orig
        return rows

    def _take(self) -> _Open:
        while self._idle:
            try:
                taken = self._idle.pop()
            except IndexError:  # another thread was quicker
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

    def _give_back(self, taken: _Open) -> None:
        if not self._keep:
            taken[0].close()
            return
        self._idle.append(taken)
        if self._disposed:
            self._close_idle()

    def _fail(self, taken: _Open, sql: str, error: BaseException) -> NoReturn:
        """Raise a driver's error as SQLAlchemy does, and any other as it is; the connection is not used again."""
        connection, cursor, _ = taken
        if not isinstance(error, self._dbapi.Error):
            self._drop(taken, error)
            raise error
        # A prepared statement whose table was altered (0A000) is as lost as a connection that is gone.
        lost = getattr(error, "sqlstate", None) == "0A000"
        lost = lost or self.engine.dialect.is_disconnect(error, connection.driver_connection, cursor)
        self._drop(taken, error)
        if lost:
            self.dispose()  # all others are as old
        raise self._translated(error, sql, lost=lost) from error

    def _drop(self, taken: _Open, error: BaseException) -> None:
        connection, cursor, _ = taken
        with suppress(self._dbapi.Error):
            cursor.close()  # an open statement keeps SQLite's write lock, even once its connection is closed
        if isinstance(self.engine.pool, StaticPool):  # the connection is the database
            connection.close()
        else:
            connection.invalidate(error)

    def _release(self) -> None:
        """Give one idle connection back to the pool, for whoever else wants one of it."""
        with suppress(IndexError):
            self._idle.pop()[0].close()

    def _translated(self, error: Exception, sql: str, *, lost: bool = False) -> BaseException:
        dialect = self.engine.dialect
        hide_values(error)
        return DBAPIError.instance(
            sql, None, error, self._dbapi.Error, hide_parameters=True, connection_invalidated=lost, dialect=dialect
        )

    def _compile(self, statement: Statement, names: frozenset[str]) -> CompiledStatement | None:
        """The statement with values for these names; None where it is left to SQLAlchemy."""
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


def _is_incomplete(rows: Rows, lookups: Sequence[int]) -> bool:
    """Whether a looked-up value is missing.

    PostgreSQL looks a row up as of the statement's beginning and checks the foreign key at its end: a row that it
    refers to may have come in between, and is seen when the statement runs again.
    """
    return any(row[place] is None for row in rows for place in lookups)


def _explained(
    connection: Connection, error: BaseException, statement: Statement, parameters: Parameters, explain: Explain | None
) -> BaseException:
    if explain is None or not isinstance(error, IntegrityError):
        return error
    return explain(connection, error, statement, parameters) or error
