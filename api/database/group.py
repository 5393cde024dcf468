"""Runs the changes that wait at the same time in one transaction of SQLite, and stores them with one COMMIT.

A COMMIT writes to the disk and waits for it, which takes longer than everything else about a change. Each change is
answered after the COMMIT, and is refused by itself: its error does not affect the others.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from threading import Lock
from typing import Any, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from api.database.compilation import Parameters, Rows, Statement
from api.database.statements import Explain, Open, StatementRunner

# The changes of one transaction. More would hardly save anything, and make the first ones wait.
_MAX_CHANGES = 64


class TransactionFailed(Exception):  # named for the situation
    """The transaction of the first `changes` changes could not begin, or its COMMIT failed.

    After a failed COMMIT it is unknown whether they were stored.
    """

    def __init__(self, changes: int, cause: SQLAlchemyError) -> None:
        super().__init__(changes)
        self.changes = changes
        self.cause = cause

    def fail(self) -> NoReturn:
        """Raise the error; each call raises its own copy, because the changes are answered in several threads."""
        raise copy(self.cause) from self.cause


class GroupRunner(StatementRunner):
    """A statement runner for SQLite, where a refused statement leaves its transaction as it was."""

    def change_together(self, changes: Sequence[tuple[Statement, Parameters]]) -> list[Rows]:
        """Run changes in one transaction and commit, up to the first that cannot be part of it; the rows of each.

        A change that a constraint refuses cannot, nor can one that must go through SQLAlchemy. Raises
        `TransactionFailed` if the changes failed together. After any other error nothing is stored.
        """
        if self.has_events:
            return []
        try:
            taken = self._take()
        except SQLAlchemyError as error:
            raise TransactionFailed(len(changes), error) from error
        results: list[Rows] = []
        failed = len(changes)  # how many changes an error concerns as a whole
        try:
            # The driver would begin the transaction together with the first change. The error of a lock, for which
            # BEGIN waits, could then not be told from an error of this change.
            taken[1].execute("BEGIN IMMEDIATE")
            failed = 0
            results = self._run_each(taken, changes)
            failed = len(results)
            taken[0].commit()
        except BaseException as error:  # noqa: BLE001  # raised again by `_fail`
            # A COMMIT that a deferred constraint refuses stores nothing: each change can be run again, alone.
            is_refused = isinstance(error, self._dbapi.IntegrityError)
            try:
                self._fail(taken, "", error)
            except SQLAlchemyError as translated:
                if failed and not is_refused:
                    raise TransactionFailed(failed, translated) from error
                raise
        self._give_back(taken)
        return results

    def _run_each(self, taken: Open, changes: Sequence[tuple[Statement, Parameters]]) -> list[Rows]:
        connection, cursor, _ = taken
        opened: Any = connection.dbapi_connection
        results: list[Rows] = []
        for statement, parameters in changes:
            compiled = self._compiled(statement, frozenset(parameters))
            if compiled is None:
                break
            before = opened.total_changes
            try:
                cursor.execute(compiled.sql, compiled.arguments(parameters))
                rows = cursor.fetchall()
            except self._dbapi.IntegrityError:
                if not opened.in_transaction:  # ON CONFLICT ROLLBACK, or a trigger, ended it
                    return []
                if opened.total_changes != before:  # ON CONFLICT FAIL keeps the rows before the refused one
                    connection.rollback()
                    return []
                break
            results.append(compiled.rows(rows) if compiled.rows else rows)
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
        """A change that waits; pass it to `run`, and in any case to `give_up` at the end."""
        change = Change(statement, parameters, explain)
        self._waiting.append(change)
        return change

    def give_up(self, change: Change) -> None:
        """Do not run the change if it has not begun; a change that is done or running is not affected."""
        change.is_given_up = True
        if not change.is_done:
            with suppress(ValueError):  # a thread has taken it
                self._waiting.remove(change)

    def run(self, change: Change) -> Rows:
        """The rows of the change, as `StatementRunner.change` returns or raises; the changes that wait are run too.

        Nobody waits for the rows of a change that was given up: there are none.
        """
        with self._lock:  # SQLite has one writer at a time
            while not (change.is_done or change.is_given_up):
                self._run_waiting()
        if change.error is not None:
            raise change.error
        return change.rows

    def _run_waiting(self) -> None:
        changes: list[Change] = []
        with suppress(IndexError):  # no more wait
            while len(changes) < _MAX_CHANGES:
                changes.append(self._waiting.popleft())
        while changes := [change for change in changes if not change.is_given_up]:
            done = self._run_together(changes) if len(changes) > 1 else 0
            changes = changes[done:]
            if changes:  # the first one cannot be part of a transaction with others
                self._run_alone(changes.pop(0))

    def _run_together(self, changes: list[Change]) -> int:
        """Run changes in one transaction, up to the first that it must not contain; returns how many are done."""
        try:
            results = self.runner.change_together([(change.statement, change.parameters) for change in changes])
        except TransactionFailed as error:
            for change in changes[: error.changes]:
                change.set(error.fail)
            return error.changes
        except Exception:  # noqa: BLE001  # nothing was stored; run alone, each change gets the error that is its own
            for change in changes:
                self._run_alone(change)
            return len(changes)
        for change, rows in zip(changes, results, strict=False):
            change.rows, change.is_done = rows, True
        return len(results)

    def _run_alone(self, change: Change) -> None:
        if not change.is_given_up:  # meanwhile
            change.set(lambda: self.runner.change(change.statement, change.parameters, change.explain))
