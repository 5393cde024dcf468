"""Database errors by their codes: which of them mean that the database cannot answer at present."""

import sqlite3

import pytest
from sqlalchemy.exc import DBAPIError, OperationalError

from api.database.errors import raise_problem
from contractapp import Unavailable


class ServerError(Exception):
    """An error of psycopg with this SQLSTATE."""

    def __init__(self, sqlstate):
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def sqlite_error(code):
    error = sqlite3.OperationalError("told by its code")
    error.sqlite_errorcode = code
    return error


PASSING = [
    sqlite_error(sqlite3.SQLITE_BUSY),
    sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT),
    sqlite_error(sqlite3.SQLITE_LOCKED_SHAREDCACHE),
    sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED),
    sqlite_error(sqlite3.SQLITE_IOERR_WRITE),  # 778
    sqlite_error(sqlite3.SQLITE_FULL),
    sqlite_error(sqlite3.SQLITE_CANTOPEN_ISDIR),
    *map(ServerError, ("08006", "53100", "53200", "53300", "57014", "57P01", "55P03", "40001", "40P01", "25006")),
    ServerError(None),  # the server did not answer
]
LASTING = [
    sqlite_error(sqlite3.SQLITE_ERROR),
    sqlite_error(sqlite3.SQLITE_CORRUPT_INDEX),
    sqlite_error(sqlite3.SQLITE_NOTADB),
    *map(ServerError, ("42P01", "42601", "22P02", "XX001", "0A000", "25P02", "55000")),
]


def name(error):
    return str(getattr(error, "sqlite_errorcode", None) or getattr(error, "sqlstate", None))


@pytest.mark.parametrize("cause", PASSING, ids=name)
def test_an_error_that_passes_is_unavailable(cause):
    error = OperationalError("SELECT 1", {}, cause)

    with pytest.raises(Unavailable) as refusal:
        raise_problem(error)

    assert refusal.value.__cause__ is error


@pytest.mark.parametrize("cause", LASTING, ids=name)
def test_an_error_that_stays_is_an_error(cause):
    error = OperationalError("SELECT 1", {}, cause)

    with pytest.raises(DBAPIError) as raised:
        raise_problem(error)

    assert raised.value is error
    assert raised.value.__cause__ is None
