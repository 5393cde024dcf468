"""The database of an application: two statement runners, and the functions `read` and `write` that use them."""

from collections.abc import Iterable, Sequence
from types import FunctionType
from typing import Any, NamedTuple

from flask import Flask, current_app
from sqlalchemy import Delete, Engine, Insert, Select, TextClause, Update, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from api.config import Settings
from api.database import postgresql, sqlite
from api.database.compilation import Parameters, Rows
from api.database.engines import db, merged, reader_options, writer_options
from api.database.errors import hide_values_in, raise_problem
from api.database.refusals import problem_of
from api.database.sqlite import DatabaseFile
from api.database.statements import StatementRunner


class Runners(NamedTuple):
    """The statement runners of an application: `reader` for single statements, `writer` for transactions.

    On PostgreSQL, a read on an AUTOCOMMIT engine is one round trip instead of three: 103 µs, not 221 (SQLAlchemy 2.1,
    psycopg 3.3). Each runner has its own pool, so writers that wait do not occupy the connections of readers.
    `db.session` uses the engine of `writer`.
    """

    reader: StatementRunner
    writer: StatementRunner


def init_app(flask_app: Flask, settings: Settings) -> None:
    """Create the engines and runners of a Flask application; does not connect yet."""
    flask_app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    given = flask_app.config.get("SQLALCHEMY_ENGINE_OPTIONS", {})
    flask_app.config["SQLALCHEMY_ENGINE_OPTIONS"] = merged(writer_options(settings), given)
    db.init_app(flask_app)
    with flask_app.app_context():
        engine = db.engine
    # A pool that the configuration chose gets every connection back, because it may have its own rules for them.
    keep = not any(name.startswith("pool") for name in given)
    path = sqlite.path_of(engine.url) if settings.is_sqlite else None
    file = DatabaseFile(str(path)) if path is not None else None
    reader = writer = _runner(engine, settings, file, keep=keep)
    # A second engine would open a different database in memory.
    if not settings.in_memory:
        reading = create_engine(engine.url, **merged(reader_options(settings), given))
        reader = _runner(reading, settings, file, keep=keep)
    flask_app.extensions["api.database"] = Runners(reader, writer)


def report_slow_statements(flask_app: Flask, handlers: Iterable[FunctionType]) -> None:
    """Log each statement in the modules of the handlers that cannot run on the driver alone, with the reason."""
    runners = _runners(flask_app)
    named = {
        f"{handler.__module__}.{name}": value for handler in handlers for name, value in handler.__globals__.items()
    }
    for name, value in named.items():
        if isinstance(value, Select | TextClause):
            runners.reader.report(name, value)
        elif isinstance(value, Insert | Update | Delete):
            runners.writer.report(name, value)


def dispose(flask_app: Flask) -> None:
    """Close an application's connections; the next statement opens a new one. A database in memory is lost."""
    for runner in set(_runners(flask_app)):
        runner.dispose()


def read(statement: Select[Any] | TextClause, parameters: Parameters) -> Rows:
    """The rows of one statement; raises `Unavailable`. After a connection error the statement is run a second time."""
    reader = _runners().reader
    try:
        try:
            return reader.fetch(statement, parameters)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # All open connections were closed together with the broken one, so this call opens a new one.
            return reader.fetch(statement, parameters)
    except SQLAlchemyError as error:
        raise_problem(error)


def write(statement: Insert | Update | Delete, parameters: Parameters) -> Sequence[Any] | None:
    """Run one statement and commit; the first row of its RETURNING clause, or None if the statement changed no row.

    Raises the problem in the `info` of the constraint that refused the row, or `Unavailable`. The statement is not
    run a second time: if the connection breaks during COMMIT, it is unknown whether the row was stored.
    """
    try:
        rows = _runners().writer.change(statement, parameters, problem_of)
    except SQLAlchemyError as error:
        raise_problem(error)
    return rows[0] if rows else None


def _runners(flask_app: Flask = current_app) -> Runners:
    runners: Runners = flask_app.extensions["api.database"]
    return runners


def _runner(engine: Engine, settings: Settings, file: DatabaseFile | None, *, keep: bool) -> StatementRunner:
    if settings.is_sqlite:
        event.listen(engine, "connect", sqlite.set_pragmas)
    else:
        postgresql.prepare(engine, settings)
        event.listen(engine, "handle_error", hide_values_in)
    if file is None:
        return StatementRunner(engine, keep=keep)
    file.watch(engine)
    return StatementRunner(engine, keep=keep, is_good=file.is_current)
