"""The database of an application: two statement runners, and the functions `read` and `write` that use them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any, NamedTuple

from flask import Flask, current_app
from sqlalchemy import Delete, Engine, Insert, Select, TextClause, Update, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from api.config import Settings
from api.database import sqlite
from api.database.compilation import Parameters, Rows
from api.database.engines import db, merged, reader_options, writer_options
from api.database.errors import hide_values_in, raise_problem
from api.database.group import GroupCommit, GroupRunner
from api.database.loop import PostgreSQLStatements, SQLiteStatements, ThreadStatements
from api.database.quick import QuickReads, quick_options
from api.database.refusals import problem_of
from api.database.sqlite import DatabaseFile
from api.database.statements import StatementRunner
from api.database.transactions import Transaction, current
from contractapp import in_event_loop


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

    def another(options: dict[str, Any]) -> Engine:
        return _prepared(create_engine(engine.url, **merged(options, given)), settings, file)

    is_good = file.is_current if file else None
    _prepared(engine, settings, file)
    writer = (GroupRunner if settings.is_sqlite else StatementRunner)(engine, keep=keep, is_good=is_good)
    reader = writer
    if not settings.in_memory:  # a second engine would open a different database in memory
        reader = StatementRunner(another(reader_options(settings)), keep=keep, is_good=is_good)
    in_loop = ThreadStatements(reader, writer)
    if keep and file is not None and isinstance(writer, GroupRunner):
        quick = StatementRunner(another(quick_options(settings)), is_good=is_good)
        in_loop = SQLiteStatements(reader, GroupCommit(writer), QuickReads(quick, reader))
    elif keep and not settings.is_sqlite:
        from api.database.waiting import waiting_runners  # imports psycopg

        in_loop = PostgreSQLStatements(reader, writer, *waiting_runners(settings, another))
    flask_app.extensions["api.database"] = Runners(reader, writer)
    flask_app.extensions["api.database.loop"] = in_loop


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
    _in_loop(flask_app).dispose()
    for runner in set(_runners(flask_app)):
        runner.dispose()


def read(statement: Select[Any] | TextClause, parameters: Parameters) -> Rows:
    """The rows of one statement; raises `Unavailable`. After a connection error the statement is run a second time."""
    transaction = current.get()
    fetch = _in_loop().fetch if in_event_loop() else _runners().reader.fetch
    try:
        if transaction is not None:
            return transaction.run(statement, parameters)
        try:
            return fetch(statement, parameters)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # All open connections were closed together with the broken one, so this call opens a new one.
            return fetch(statement, parameters)
    except SQLAlchemyError as error:
        raise_problem(error)


def read_as_writer(statement: Select[Any], parameters: Parameters) -> Rows:
    """The rows of one statement, for a handler that writes; raises `Unavailable`.

    It runs on a connection for writes. There are only as many connections for reads as threads that answer reads, and
    the threads keep them: a thread that answers writes could wait for one in vain.
    """
    transaction = current.get()
    fetch = _in_loop().fetch if in_event_loop() else _runners().writer.fetch
    try:
        return (transaction.run if transaction else fetch)(statement, parameters)
    except SQLAlchemyError as error:
        raise_problem(error)


def write(statement: Insert | Update | Delete, parameters: Parameters) -> Sequence[Any] | None:
    """Run one statement and commit; the first row of its RETURNING clause, or None if the statement changed no row.

    Raises the problem in the `info` of the constraint that refused the row, or `Unavailable`. The statement is not
    run a second time: if the connection breaks during COMMIT, it is unknown whether the row was stored.
    """
    transaction = current.get()
    change = _in_loop().change if in_event_loop() else _runners().writer.change
    try:
        if transaction is not None:
            rows = transaction.run(statement, parameters)
        else:
            rows = change(statement, parameters, problem_of)
    except SQLAlchemyError as error:
        raise_problem(error)
    return rows[0] if rows else None


@contextmanager
def transaction() -> Iterator[Callable[[], None]]:
    """A transaction for every `read` and `write` in the block, and the function that commits it.

    At the end of the block, what was not committed is rolled back. Raises `Unavailable`.
    """
    try:
        with _runners().writer.connection() as connection:
            opened = Transaction(connection, problem_of)
            token = current.set(opened)
            try:
                yield opened.commit
            finally:
                current.reset(token)
    except SQLAlchemyError as error:
        raise_problem(error)


def _runners(flask_app: Flask = current_app) -> Runners:
    runners: Runners = flask_app.extensions["api.database"]
    return runners


def _in_loop(flask_app: Flask = current_app) -> ThreadStatements:
    in_loop: ThreadStatements = flask_app.extensions["api.database.loop"]
    return in_loop


def _prepared(engine: Engine, settings: Settings, file: DatabaseFile | None) -> Engine:
    if settings.is_sqlite:
        event.listen(engine, "connect", sqlite.set_pragmas)
    else:
        from api.database import postgresql  # imports psycopg, which takes 8 MB of memory

        postgresql.prepare(engine, settings)
        event.listen(engine, "handle_error", hide_values_in)
    if file is not None:
        file.watch(engine)
    return engine
