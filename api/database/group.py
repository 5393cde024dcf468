"""Runs the changes that wait at the same time in one transaction of SQLite, and stores them with one COMMIT.

A COMMIT writes to the disk and waits for it, which takes longer than everything else about a change. Each change is
answered after the COMMIT, and is refused by itself: its error does not affect the others.
"""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from api.database.compilation import Parameters, Rows, Statement
from api.database.statements import Explain, StatementRunner

# The changes of one transaction. More would hardly save anything, and make the first ones wait.
_MAX_CHANGES = 64


class CommitFailed(Exception):  # named for the situation
    """The COMMIT of several changes failed: it is unknown whether they were stored."""

    def __init__(self, changes: int, cause: BaseException) -> None:
        super().__init__(changes)
        self.changes = changes
        self.cause = cause

    def fail(self) -> NoReturn:
        """Raise the error of the COMMIT."""
        raise self.cause


class GroupRunner(StatementRunner):
    """A statement runner for SQLite, where a refused statement leaves its transaction as it was."""

    def change_together(self, changes: Sequence[tuple[Statement, Parameters]]) -> list[Rows]:
        """Run changes in one transaction and commit, up to the first that cannot be part of it; the rows of each.

        A change that a constraint refuses cannot, nor can one that must go through SQLAlchemy. Raises `CommitFailed`
        if the COMMIT fails, and for any other error what SQLAlchemy would raise; then nothing is stored.
        """
        if self.has_events:
            return []
        taken = connection, cursor, _ = self._take()
        results: list[Rows] = []
        sql = ""
        is_committing = False
        opened: Any = connection.dbapi_connection
        try:
            for statement, parameters in changes:
                compiled = self._compiled(statement, frozenset(parameters))
                if compiled is None:
                    break
                sql = compiled.sql
                try:
                    cursor.execute(sql, compiled.arguments(parameters))
                    rows = cursor.fetchall()
                except self._dbapi.IntegrityError:
                    if not opened.in_transaction:  # a trigger ended it
                        results = []
                    break
                results.append(compiled.rows(rows) if compiled.rows else rows)
            is_committing = True
            connection.commit()
        except BaseException as error:  # noqa: BLE001  # raised again by `_fail`
            try:
                self._fail(taken, sql, error)
            except SQLAlchemyError as failed:
                if is_committing:
                    raise CommitFailed(len(results), failed) from error
                raise
        self._give_back(taken)
        return results


class Change:
    """One statement that waits to be run."""

    __slots__ = ("error", "explain", "is_done", "is_given_up", "parameters", "rows", "statement")

    def __init__(self, statement: Statement, parameters: Parameters, explain: Explain) -> None:
        self.statement = statement
        self.parameters = parameters
        self.explain = explain
        self.is_done = False
        self.is_given_up = False
        self.rows: Rows = ()
        self.error: Exception | None = None

    def set(self, run: Callable[[], Rows]) -> None:
        """Store the result of `run`, or its error."""
        try:
            self.rows = run()
        except Exception as error:  # noqa: BLE001  # `GroupCommit.run` raises it
            self.error = error
        self.is_done = True


class GroupCommit:
    """Groups changes for one statement runner. Thread-safe."""

    def __init__(self, runner: GroupRunner) -> None:
        self.runner = runner
        self._waiting: deque[Change] = deque()
        self._lock = Lock()

    def add(self, statement: Statement, parameters: Parameters, explain: Explain) -> Change:
        """A change that waits; `run` must be called with it, or its `is_given_up` be set."""
        change = Change(statement, parameters, explain)
        self._waiting.append(change)
        return change

    def run(self, change: Change) -> Rows:
        """The rows of the change, as `StatementRunner.change` returns or raises; the changes that wait are run too."""
        with self._lock:  # SQLite has one writer at a time
            while not change.is_done:
                self._run_waiting()
        if change.error is not None:
            raise change.error
        return change.rows

    def _run_waiting(self) -> None:
        changes: list[Change] = []
        while self._waiting and len(changes) < _MAX_CHANGES:
            change = self._waiting.popleft()
            if not change.is_given_up:
                changes.append(change)
        while changes:
            stored = self._run_together(changes) if len(changes) > 1 else 0
            changes = changes[stored:]
            if changes:  # the first one cannot be part of a transaction with others
                self._run_alone(changes.pop(0))

    def _run_together(self, changes: list[Change]) -> int:
        """Run changes in one transaction, up to the first that it must not contain; returns how many were run."""
        try:
            results = self.runner.change_together([(change.statement, change.parameters) for change in changes])
        except CommitFailed as error:  # it is unknown what was stored
            for change in changes[: error.changes]:
                change.set(error.fail)
            return error.changes
        except SQLAlchemyError:  # nothing was stored; run alone, each change gets the error that is its own
            for change in changes:
                self._run_alone(change)
            return len(changes)
        for change, rows in zip(changes, results, strict=False):
            change.rows, change.is_done = rows, True
        return len(results)

    def _run_alone(self, change: Change) -> None:
        change.set(lambda: self.runner.change(change.statement, change.parameters, change.explain))
