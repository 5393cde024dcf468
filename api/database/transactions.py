"""The transaction of several statements, in which `read` and `write` take part while it is open.

It runs through SQLAlchemy. A single statement takes the shorter way of `StatementRunner`.
"""

from contextvars import ContextVar
from typing import NoReturn

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from api.database.compilation import Parameters, Rows, Statement, lookups
from api.database.statements import Explain, is_incomplete


class Transaction:
    """An open transaction; used in one thread. After a refused statement, it can only be rolled back."""

    def __init__(self, connection: Connection, explain: Explain) -> None:
        self._connection = connection
        self._explain = explain
        self._is_refused = False

    def run(self, statement: Statement, parameters: Parameters) -> Rows:
        """The rows of a statement. If a constraint refuses a row, raises what `explain` returns."""
        self._require_usable()
        try:
            return self._rows(statement, parameters)
        except IntegrityError as error:
            self._refuse(error, statement, parameters)

    def commit(self) -> None:
        self._require_usable()
        self._connection.commit()

    def _require_usable(self) -> None:
        # PostgreSQL has rolled back the statements before the refused one, SQLite has not.
        if self._is_refused:
            raise RuntimeError("The database has refused a statement of this transaction: it can only be rolled back.")

    def _rows(self, statement: Statement, parameters: Parameters) -> Rows:
        found = lookups(statement)
        if not found:
            return self._connection.execute(statement, parameters).all()
        with self._connection.begin_nested() as savepoint:
            rows = self._connection.execute(statement, parameters).all()
            if not is_incomplete(rows, found):
                return rows
            savepoint.rollback()
        return self._connection.execute(statement, parameters).all()

    def _refuse(self, error: IntegrityError, statement: Statement, parameters: Parameters) -> NoReturn:
        self._is_refused = True
        # A new Connection on the same driver connection: SQLAlchemy's transaction on the old one has failed.
        explained = Connection(self._connection.engine, connection=self._connection.connection)
        raise self._explain(explained, error, statement, parameters) or error from error.orig


current: ContextVar[Transaction | None] = ContextVar("api.database.transaction", default=None)
