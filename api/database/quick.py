"""Runs short reads of SQLite in the thread of the event loop, without holding up other requests.

A read that is not short is interrupted and must run in a thread: the connection does not wait for locks, and the
statement is ended after a few milliseconds. Short are a row by its id and a page of 100 rows: less than 0.2 ms.
"""

import sqlite3
import time
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.config import Settings
from api.database.compilation import Parameters, Rows, Statement
from api.database.engines import reader_options
from api.database.statements import StatementRunner

# How long a statement may run, in seconds. SQLite asks each time after this many steps of its virtual machine, which
# take about 0.1 ms.
_MAX_SECONDS = 0.005
_STEPS = 5000

# A statement that was interrupted runs in threads for this time before it is tried again.
_PAUSE_SECONDS = 10.0


def quick_options(settings: Settings) -> dict[str, Any]:
    """The options of `create_engine`: as for reads in threads, but one connection, and no waiting."""
    options = reader_options(settings)
    return {**options, "pool_size": 1, "pool_timeout": 0, "connect_args": {**options["connect_args"], "timeout": 0}}


class QuickReads:
    """Runs statements on one connection, for a thread that must not be blocked."""

    def __init__(self, runner: StatementRunner, reader: StatementRunner) -> None:
        """`reader` runs the statements in threads; while its engine has listeners, it runs all of them."""
        self.runner = runner
        self._reader = reader
        self._until = 0.0
        self._paused: WeakKeyDictionary[Statement, float] = WeakKeyDictionary()
        event.listen(runner.engine, "connect", self._limit)

    def fetch(self, statement: Statement, parameters: Parameters) -> Rows | None:
        """The rows of a statement that changes nothing; None if it must run in a thread."""
        now = time.perf_counter()
        if self._paused and self._paused.get(statement, 0.0) > now:
            return None
        if self._reader.has_events:
            return None
        self._until = now + _MAX_SECONDS
        try:
            return self.runner.fetch(statement, parameters)
        except DBAPIError:  # interrupted, locked, or an error that a thread finds again and reports
            self._paused[statement] = now + _PAUSE_SECONDS
            return None
        except PoolTimeout:  # another event loop of this process uses the connection
            return None

    def _limit(self, connection: sqlite3.Connection, _entry: object) -> None:
        connection.set_progress_handler(self._is_late, _STEPS)

    def _is_late(self) -> bool:
        return time.perf_counter() > self._until
