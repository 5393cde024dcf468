"""Runs the statements of handlers that run in the event loop, which must not be blocked.

On SQLite, short reads run at once; other reads and all changes run in threads while the handler waits. On PostgreSQL,
the handler waits for the socket of its connection: no thread takes part.
"""

from functools import partial
from typing import TYPE_CHECKING

from api.database.compilation import Parameters, Rows, Statement
from api.database.group import GroupCommit
from api.database.quick import QuickReads
from api.database.statements import Explain, StatementRunner
from contractapp import in_thread

if TYPE_CHECKING:
    from api.database.waiting import WaitingRunner  # imports psycopg


class ThreadStatements:
    """Runs each statement in a thread."""

    def __init__(self, reader: StatementRunner, writer: StatementRunner) -> None:
        self.reader = reader
        self.writer = writer

    def fetch(self, statement: Statement, parameters: Parameters) -> Rows:
        """As `StatementRunner.fetch`."""
        rows: Rows = in_thread(partial(self.reader.fetch, statement, parameters))
        return rows

    def change(self, statement: Statement, parameters: Parameters, explain: Explain) -> Rows:
        """As `StatementRunner.change`."""
        rows: Rows = in_thread(partial(self.writer.change, statement, parameters, explain), write=True)
        return rows

    def dispose(self) -> None:
        """Close the connections that no other runner has."""


class SQLiteStatements(ThreadStatements):
    """Runs short reads at once, and the changes that wait at the same time in one transaction."""

    def __init__(self, reader: StatementRunner, group: GroupCommit, quick: QuickReads) -> None:
        super().__init__(reader, group.runner)
        self._group = group
        self._quick = quick

    def fetch(self, statement: Statement, parameters: Parameters) -> Rows:
        """As `StatementRunner.fetch`."""
        rows = self._quick.fetch(statement, parameters)
        return super().fetch(statement, parameters) if rows is None else rows

    def change(self, statement: Statement, parameters: Parameters, explain: Explain) -> Rows:
        """As `StatementRunner.change`."""
        change = self._group.add(statement, parameters, explain)
        try:
            rows: Rows = in_thread(partial(self._group.run, change), write=True)
        finally:
            self._group.give_up(change)  # the time may be over, or the queue full, before a thread ran it
        return rows

    def dispose(self) -> None:
        """Close the connection of the reads in the event loop."""
        self._quick.runner.dispose()


class PostgreSQLStatements(ThreadStatements):
    """Lets the handler wait for its connection. `reader` and `writer` run what needs a thread."""

    def __init__(
        self, reader: StatementRunner, writer: StatementRunner, reads: "WaitingRunner", changes: "WaitingRunner"
    ) -> None:
        super().__init__(reader, writer)
        self._reads = reads
        self._changes = changes

    def fetch(self, statement: Statement, parameters: Parameters) -> Rows:
        """As `StatementRunner.fetch`."""
        if self.reader.has_events or not self._reads.is_usable:
            return super().fetch(statement, parameters)
        return self._reads.fetch(statement, parameters)

    def change(self, statement: Statement, parameters: Parameters, explain: Explain) -> Rows:
        """As `StatementRunner.change`."""
        if self.writer.has_events or not self._changes.is_usable:
            return super().change(statement, parameters, explain)
        return self._changes.change(statement, parameters, explain)

    def dispose(self) -> None:
        """Close the connections for which handlers wait."""
        self._reads.dispose()
        self._changes.dispose()
