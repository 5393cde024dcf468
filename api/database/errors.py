"""What a client sees of a database error: the problem beside the constraint that refused a row, or `Unavailable`."""

import sqlite3
from typing import NoReturn

from sqlalchemy import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from contractapp import Unavailable


def raise_problem(error: SQLAlchemyError) -> NoReturn:
    """Raise the problem that stands for a database error, or the error itself if there is none."""
    if isinstance(error, PoolTimeout) or (isinstance(error, DBAPIError) and _is_trouble(error)):
        raise Unavailable from error
    raise error


def hide_values(error: BaseException) -> None:
    """Take the parameters' values out of the text of a driver's error; SQLite's has none.

    PostgreSQL repeats them in the lines after the first (`DETAIL: Key (email)=(ann@example.com) already exists.`), and
    in the first too where the data itself is at fault (SQLSTATE class 22).
    """
    sqlstate, diagnostics = getattr(error, "sqlstate", None), getattr(error, "diag", None)
    if sqlstate is not None and diagnostics is not None:
        error.args = (f"SQLSTATE {sqlstate}" if sqlstate.startswith("22") else diagnostics.message_primary,)


def hide_values_in(context: ExceptionContext) -> None:
    """The same for an error on its way through SQLAlchemy, which has copied the text; a listener to `handle_error`."""
    original, error = context.original_exception, context.sqlalchemy_exception
    before = str(original)
    hide_values(original)
    if error is not None:
        error.args = tuple(str(text).replace(before, str(original)) for text in error.args)


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
