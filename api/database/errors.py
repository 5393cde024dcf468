"""Classifies database errors, and removes parameter values from their messages."""

import sqlite3
from typing import NoReturn

from sqlalchemy import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from contractapp import Unavailable


class RowLocked(Unavailable):
    """503: another transaction held the row for longer than the lock timeout. Only PostgreSQL can tell."""


def raise_problem(error: SQLAlchemyError) -> NoReturn:
    """Raise `Unavailable` if the database cannot answer at present, otherwise the error itself."""
    if isinstance(error, DBAPIError) and _is_row_locked(error.orig):
        raise RowLocked from error
    if isinstance(error, PoolTimeout) or (isinstance(error, DBAPIError) and _is_unavailable(error)):
        raise Unavailable from error
    raise error


def hide_values(error: BaseException) -> None:
    """Remove the values of parameters from the message of a driver's error; SQLite's messages contain none.

    PostgreSQL repeats values after the first line (`DETAIL: Key (email)=(ann@example.com) already exists.`), and also
    in the first line of data exceptions (SQLSTATE class 22).
    """
    sqlstate, diagnostics = getattr(error, "sqlstate", None), getattr(error, "diag", None)
    if sqlstate is not None and diagnostics is not None:
        error.args = (f"SQLSTATE {sqlstate}" if sqlstate.startswith("22") else diagnostics.message_primary,)


def hide_values_in(context: ExceptionContext) -> None:
    """Do the same for an error of SQLAlchemy, which contains a copy of the message; a listener for `handle_error`."""
    original, error = context.original_exception, context.sqlalchemy_exception
    before = str(original)
    hide_values(original)
    if error is not None:
        error.args = tuple(str(text).replace(before, str(original)) for text in error.args)


_SQLITE_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)

# Connection exceptions, insufficient resources, operator intervention (57014 is a statement timeout), lock not
# available, serialization failure, deadlock, and read-only transaction (a standby).
_POSTGRESQL_UNAVAILABLE = ("08", "53", "57", "55P03", "40001", "40P01", "25006")


def _is_row_locked(error: object) -> bool:
    # The wait for a row has a context (`while inserting index tuple (0,1) in relation "users"`), the wait for a table
    # has none.
    context = getattr(getattr(error, "diag", None), "context", None)
    return getattr(error, "sqlstate", None) == "55P03" and context is not None


def _is_unavailable(error: DBAPIError) -> bool:
    """Whether the database cannot answer at present; any other error has its cause in the statement.

    Decided by error code: the drivers raise OperationalError for a missing table as well as for a locked one.
    """
    if error.connection_invalidated:
        return True
    sqlite_code = getattr(error.orig, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return sqlite_code & 0xFF in _SQLITE_UNAVAILABLE  # the low byte of an extended code is the primary code
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is not None:
        return str(sqlstate).startswith(_POSTGRESQL_UNAVAILABLE)
    # The server did not answer: the connection was refused, timed out or was cut off.
    return isinstance(error, OperationalError)
