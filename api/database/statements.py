"""Core statements on the driver itself: compiled once, run on connections that stay open between requests.

A row by its id costs 80 µs of CPU through SQLAlchemy's own execution on SQLite and 164 on PostgreSQL, and 8 and 45
here (SQLAlchemy 2.1, psycopg 3.3, Python 3.11). What SQLAlchemy does beside is not lost: statements whose values it
would convert, and engines that somebody listens to, go through it. `tests/test_statements.py` compares the two.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Delete, Dialect, Engine, Insert, Integer, Select, String, TextClause, Update
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection, StaticPool
from sqlalchemy.types import TypeEngine

Statement = Select[Any] | TextClause | Insert | Update | Delete
Parameters = Mapping[str, Any]
Rows = Sequence[Sequence[Any]]


# A connection that the pool does not get back, the cursor that all its statements go through, whether it is AUTOCOMMIT.
_Open = tuple[PoolProxiedConnection, DBAPICursor, bool]


class _Compiled(NamedTuple):
    """A statement as the driver takes it."""

    sql: str
    arguments: Callable[[Parameters], Any]


class StatementRunner:
    """Runs single statements for one engine; from any number of threads, a connection for each that is at it.

    Without `keep` each connection goes back to the engine's pool after its statement, which then decides on it.
    A connection that stayed open is asked after with `is_good` before it is used again.
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
        self._idle: list[_Open] = []  # taken and given back at its end, which no lock need guard
        self._compiled = lru_cache(maxsize=256)(self._compile)

    def fetch(self, statement: Statement, parameters: Parameters) -> Rows:
        """The rows of a statement that changes nothing; raises what SQLAlchemy would raise."""
        return self._run(statement, parameters, commit=False)

    def change(self, statement: Statement, parameters: Parameters) -> Rows:
        """The rows that a statement RETURNs, committed; raises what SQLAlchemy would raise."""
        return self._run(statement, parameters, commit=True)

    def dispose(self) -> None:
        """Close the connections that nobody is using."""
        with suppress(IndexError):
            while True:
                self._idle.pop()[0].invalidate()
        self.engine.dispose()

    def _run(self, statement: Statement, parameters: Parameters, *, commit: bool) -> Rows:
        if self.engine._has_events:  # noqa: SLF001  # SQLAlchemy has no other way to ask
            return self._run_plainly(statement, parameters, commit=commit)
        taken = connection, cursor, autocommit = self._take()  # first: only a connected dialect knows its database
        try:
            compiled = self._compiled(statement, tuple(parameters))
        except SQLAlchemyError:
            connection.close()
            raise
        if compiled is None:
            connection.close()  # back to the pool: it is wanted there at once
            return self._run_plainly(statement, parameters, commit=commit)
        try:
            cursor.execute(compiled.sql, compiled.arguments(parameters))
            rows = cursor.fetchall()
            if commit:
                connection.commit()
            elif not autocommit:
                connection.rollback()
        except BaseException as error:
            raise self._failed(taken, compiled.sql, error) from error
        self._give_back(taken)
        return rows

    def _run_plainly(self, statement: Statement, parameters: Parameters, *, commit: bool) -> Rows:
        self._release()
        with self.engine.begin() if commit else self.engine.connect() as connection:
            return connection.execute(statement, parameters).all()

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
        opened: Any = connection.dbapi_connection
        autocommit = self.engine.dialect.detect_autocommit_setting(opened)
        return connection, connection.cursor(), autocommit

    def _give_back(self, taken: _Open) -> None:
        if self._keep:
            self._idle.append(taken)
        else:
            taken[0].close()

    def _failed(self, taken: _Open, sql: str, error: BaseException) -> BaseException:
        """The error as SQLAlchemy raises it. Its connection is used again only if a constraint was all it met."""
        connection, cursor, _ = taken
        if not isinstance(error, self._dbapi.Error):
            self._drop(connection, error)
            return error
        # A prepared statement whose table was altered (0A000) is as lost as a connection that is gone.
        lost = getattr(error, "sqlstate", None) == "0A000"
        lost = lost or self.engine.dialect.is_disconnect(error, connection.driver_connection, cursor)
        if isinstance(error, self._dbapi.IntegrityError):
            connection.close()  # back to the pool, which rolls back
        else:
            self._drop(connection, error)
        if lost:
            self.dispose()  # all others are as old
        return self._translated(error, sql, lost=lost)

    def _drop(self, connection: PoolProxiedConnection, error: BaseException) -> None:
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
        return DBAPIError.instance(
            sql, None, error, self._dbapi.Error, hide_parameters=True, connection_invalidated=lost, dialect=dialect
        )

    def _compile(self, statement: Statement, names: tuple[str, ...]) -> _Compiled | None:
        """The statement with values for these names; None where SQLAlchemy would convert or add to them."""
        dialect = self.engine.dialect
        compiled = statement.compile(dialect=dialect, column_keys=list(names))
        columns = getattr(statement, "exported_columns", ())
        if (
            compiled.insert_prefetch
            or compiled.update_prefetch
            or compiled.literal_execute_params
            or compiled.post_compile_params
            or not all(_is_handed_on(bind.type, dialect) for bind in compiled.binds.values())
            or not all(_is_handed_on(column.type, dialect) for column in columns)
        ):
            return None
        values = compiled.construct_params(dict.fromkeys(names))
        constant = {name: value for name, value in values.items() if name not in names}
        order = compiled.positiontup
        if order is None:
            return _Compiled(str(compiled), (lambda given: {**given, **constant}) if constant else lambda given: given)
        if constant:
            return _Compiled(str(compiled), lambda given: [constant.get(n, given.get(n)) for n in order])
        return _Compiled(str(compiled), _in_order(order))


def _in_order(names: Sequence[str]) -> Callable[[Parameters], Sequence[Any]]:
    if len(names) == 1:
        (name,) = names
        return lambda given: (given[name],)
    return itemgetter(*names) if names else lambda _: ()


def _is_handed_on(type_: TypeEngine[Any], dialect: Dialect) -> bool:
    """Whether driver and application see the same value."""
    if not isinstance(type_, Integer | String):
        return False
    implementation = type_.dialect_impl(dialect)
    return implementation.bind_processor(dialect) is None and implementation.result_processor(dialect, None) is None
