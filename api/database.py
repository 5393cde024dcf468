"""The database: `db`, its two drivers, and the only two ways a handler reaches it, `read` and `write`.

Whatever goes wrong leaves here as the problem that a client should see, or unchanged when nobody foresaw it.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from math import ceil
from typing import Any, NamedTuple, NoReturn

from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    Delete,
    Engine,
    ForeignKeyConstraint,
    Insert,
    MetaData,
    Select,
    TextClause,
    UniqueConstraint,
    Update,
    create_engine,
    event,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import StaticPool

from api import sqlite
from api.config import Settings
from api.contract.problems import Problem, Unavailable
from api.driver import Driver, Parameters, Rows
from api.sqlite import File


class Base(DeclarativeBase):
    """Every constraint has a name, so that migrations can change it and `write` can recognise it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)


class Drivers(NamedTuple):
    """An application's way to its database: `reader` for single statements, `writer` for transactions and `db.session`.

    On PostgreSQL a read through an engine created with AUTOCOMMIT is one round trip instead of three: 103 µs, not 221
    (SQLAlchemy 2.1, psycopg 3.3). With pools of their own, writers that wait leave the readers' connections alone.
    """

    reader: Driver
    writer: Driver


def init_app(flask_app: Flask, settings: Settings) -> None:
    """Give a Flask application its drivers; nothing connects yet."""
    flask_app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    given = flask_app.config.get("SQLALCHEMY_ENGINE_OPTIONS", {})
    flask_app.config["SQLALCHEMY_ENGINE_OPTIONS"] = _merged(_writer_options(settings), given)
    db.init_app(flask_app)
    with flask_app.app_context():
        engine = db.engine
    # A pool that the configuration chose has its reasons: it gets every connection back.
    keep = not any(name.startswith("pool") for name in given)
    path = str(engine.url.database)
    file = File(path) if settings.is_sqlite and not settings.in_memory and not path.startswith("file:") else None
    reader = writer = _driver(engine, file, keep=keep)
    # An in-memory SQLite database is its connection: there is nothing a second engine could open.
    if not settings.in_memory:
        reader = _driver(create_engine(engine.url, **_merged(_reader_options(settings), given)), file, keep=keep)
    flask_app.extensions[__name__] = Drivers(reader, writer)


def dispose(flask_app: Flask) -> None:
    """Close an application's idle connections; one that is needed again is opened again. Empties `:memory:`."""
    for driver in set(_drivers(flask_app)):
        driver.dispose()


def read(statement: Select[Any] | TextClause, parameters: Parameters) -> Rows:
    """The rows of one statement; raises `Unavailable`. A read that meets a dead connection is tried once more."""
    reader = _drivers().reader
    try:
        try:
            return reader.fetch(statement, parameters)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # Every connection as old as the dead one was dropped with it: this opens a new one.
            return reader.fetch(statement, parameters)
    except SQLAlchemyError as error:
        _refuse(error)


def write(statement: Insert | Update | Delete, parameters: Parameters) -> Sequence[Any] | None:
    """The first row that one statement RETURNs, committed; `None` when it touched no row.

    Raises the problem in the `info` of the constraint that refused it, or `Unavailable`. Never tried again: a
    connection that dies in COMMIT does not tell whether the row was stored.
    """
    try:
        rows = _drivers().writer.change(statement, parameters)
    except SQLAlchemyError as error:
        _refuse(error)
    return rows[0] if rows else None


def _drivers(flask_app: Flask = current_app) -> Drivers:
    drivers: Drivers = flask_app.extensions[__name__]
    return drivers


def _driver(engine: Engine, file: File | None, *, keep: bool) -> Driver:
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", sqlite.prepare)
    if file is None:
        return Driver(engine, keep=keep)
    file.watch(engine)
    return Driver(engine, keep=keep, is_good=file.has)


def _refuse(error: SQLAlchemyError) -> NoReturn:
    """Raise the problem that stands for a database error, or the error itself if there is none."""
    if isinstance(error, IntegrityError):
        problem = _problems().get(_refused_constraint(error.orig))
        if problem is not None:
            raise problem() from error
    if isinstance(error, PoolTimeout) or (isinstance(error, DBAPIError) and _is_trouble(error)):
        raise Unavailable from error
    raise error


@cache
def _problems() -> dict[str, type[Problem]]:
    """The problem of each constraint that has one, by both names that databases give it (`_refused_constraint`)."""
    problems = {}
    for table in db.metadata.tables.values():
        for constraint in table.constraints:
            if isinstance(constraint, UniqueConstraint | ForeignKeyConstraint) and "problem" in constraint.info:
                columns = ", ".join(f"{table.name}.{column.name}" for column in constraint.columns)
                problems[str(constraint.name)] = problems[columns] = constraint.info["problem"]
    return problems


def _refused_constraint(error: object) -> str:
    """PostgreSQL reports the constraint's name, SQLite its columns: `UNIQUE constraint failed: users.email`."""
    if isinstance(error, sqlite3.Error):
        return str(error).partition(": ")[2]
    return str(getattr(getattr(error, "diag", None), "constraint_name", None))


_SQLITE_TROUBLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)

# Connection exceptions, insufficient resources, operator intervention (a statement timeout is 57014), lock not
# available, serialization failure, deadlock, and a standby that takes no writes.
_POSTGRESQL_TROUBLE = ("08", "53", "57", "55P03", "40001", "40P01", "25006")


def _is_trouble(error: DBAPIError) -> bool:
    """Whether an error says that the database cannot answer just now, rather than that we asked nonsense.

    Told by code: the drivers raise OperationalError for a missing table as well as for a locked one.
    """
    if error.connection_invalidated:
        return True
    sqlite_code = getattr(error.orig, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return sqlite_code & 0xFF in _SQLITE_TROUBLE  # the rest of an extended code says how, not what
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is not None:
        return str(sqlstate).startswith(_POSTGRESQL_TROUBLE)
    # The server never answered: refused, timed out, or cut off in the middle.
    return isinstance(error, OperationalError)


def _writer_options(settings: Settings) -> dict[str, Any]:
    if settings.in_memory:
        return {"poolclass": StaticPool, "connect_args": {**_connect_args(settings), "check_same_thread": False}}
    return {
        # Sessions of tests and scripts come out of the pool's overflow.
        "pool_size": settings.write_threads,
        "pool_timeout": settings.pool_timeout_seconds,
        "connect_args": _connect_args(settings),
    }


def _reader_options(settings: Settings) -> dict[str, Any]:
    return {
        "pool_size": settings.read_threads,
        "max_overflow": 0,
        "pool_timeout": settings.pool_timeout_seconds,
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "connect_args": _connect_args(settings),
    }


def _connect_args(settings: Settings) -> dict[str, Any]:
    if settings.is_sqlite:
        # The driver opens a transaction before the first INSERT, UPDATE or DELETE, and none for a SELECT. IMMEDIATE
        # takes the write lock there and then, so that waiting for it goes by the timeout; a lock upgraded from a
        # read fails at once.
        return {"timeout": settings.lock_timeout_seconds, "isolation_level": "IMMEDIATE"}
    statement_timeout, lock_timeout = (
        ceil(seconds * 1000) for seconds in (settings.statement_timeout_seconds, settings.lock_timeout_seconds)
    )
    return {
        "connect_timeout": ceil(settings.connect_timeout_seconds),
        "options": f"-c statement_timeout={statement_timeout} -c lock_timeout={lock_timeout}",
        # A server that vanishes without a word is noticed no later than one that is too slow.
        "tcp_user_timeout": statement_timeout,
        "keepalives_idle": ceil(settings.statement_timeout_seconds),
        "keepalives_interval": 1,
        "keepalives_count": 3,
    }


def _merged(options: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Our engine options under those that the application's own configuration gives."""
    if "poolclass" in given:
        options = {name: value for name, value in options.items() if not name.startswith(("pool", "max_overflow"))}
    connect_args = {**options["connect_args"], **given.get("connect_args", {})}
    return {**options, **given, "connect_args": connect_args}
