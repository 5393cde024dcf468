"""Finds the constraints that refused a row, and the problem for the client.

This is done only after the database has refused the row: a query before the write could be outdated when the write
runs. PostgreSQL names one violated constraint; SQLite names none if it is a foreign key. So a query checks which of the
constraints with a problem the refused values violate. On SQLite it runs in the transaction of the refused statement,
which holds the write lock, so the result is exact. On PostgreSQL it runs in a new transaction; the constraint that
PostgreSQL named is reported in any case.
"""

import sqlite3
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Constraint,
    ForeignKeyConstraint,
    Insert,
    PrimaryKeyConstraint,
    Select,
    Subquery,
    Table,
    UniqueConstraint,
    Update,
    and_,
    bindparam,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from api.database.compilation import Parameters, Statement
from contractapp import Problem

_Unique = UniqueConstraint | PrimaryKeyConstraint


def problem_of(
    connection: Connection, error: IntegrityError, statement: Statement, parameters: Parameters
) -> Problem | None:
    """The problem of the first violated constraint, with the `errors` of all; None if none of them has a problem.

    The order is that of the table's definition. A constraint is checked if the statement gives values to all its
    columns; a constraint on a column with a default is reported only if the database names it.
    """
    if not isinstance(statement, Insert | Update) or not isinstance(statement.table, Table):
        return None
    constraints = _with_problems(statement.table)
    violated = [constraint for constraint in constraints if _is_named(constraint, error.orig)]
    unchecked = [constraint for constraint in constraints if constraint not in violated]
    if _is_foreign_key_error(error.orig):  # databases check foreign keys last: all other constraints are satisfied
        unchecked = [constraint for constraint in unchecked if isinstance(constraint, ForeignKeyConstraint)]
    try:
        violated += _violated(connection, statement, parameters, tuple(unchecked))
    except (SQLAlchemyError, connection.dialect.loaded_dbapi.Error):
        connection.invalidate()
        if not violated:
            raise
    problems: list[Problem] = [constraint.info["problem"]() for constraint in constraints if constraint in violated]
    if not problems:
        return None
    problems[0].errors = tuple(fault for problem in problems for fault in problem.errors)
    return problems[0]


def _with_problems(table: Table) -> list[Constraint]:
    in_order = table._sorted_constraints  # noqa: SLF001  # the public attribute `constraints` is a set, without order
    return [constraint for constraint in in_order if "problem" in constraint.info]


def _is_named(constraint: Constraint, error: object) -> bool:
    """Whether the error names the constraint. SQLite names its columns: `UNIQUE constraint failed: users.email`."""
    if not isinstance(error, sqlite3.Error):
        return str(constraint.name) == getattr(getattr(error, "diag", None), "constraint_name", None)
    if isinstance(constraint, _Unique):
        return str(error) == f"UNIQUE constraint failed: {', '.join(str(column) for column in constraint.columns)}"
    return str(error) == f"CHECK constraint failed: {constraint.name}"


def _is_foreign_key_error(error: object) -> bool:
    if isinstance(error, sqlite3.Error):
        return error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
    return getattr(error, "sqlstate", None) == "23503"


def _violated(
    connection: Connection, statement: Insert | Update, parameters: Parameters, constraints: tuple[Constraint, ...]
) -> list[Constraint]:
    """The constraints that the values violate now, as far as a query can tell."""
    checked, query = _query(statement, constraints, frozenset(parameters))
    if not checked:
        return []
    if connection.dialect.name != "sqlite":
        connection.connection.rollback()  # PostgreSQL runs no further statement in a transaction after an error
    row = connection.execute(query, parameters).one()
    return [constraint for constraint, is_violated in zip(checked, row, strict=True) if is_violated]


@lru_cache(maxsize=256)
def _query(
    statement: Insert | Update, constraints: tuple[Constraint, ...], names: frozenset[str]
) -> tuple[list[Constraint], Select[Any]]:
    """The constraints that can be checked, and a query that selects for each whether the values violate it."""
    given = _given(statement, names)
    if not given:
        return [], select()
    new = _new_row(statement, given)
    is_violated = {
        constraint: rows.exists()
        for constraint in constraints
        if isinstance(constraint, _Unique | ForeignKeyConstraint)
        and all(column.key in new.c for column in constraint.columns)
        and (rows := _violating_rows(constraint, new, statement)) is not None
    }
    query: Any = select(*is_violated.values())
    return list(is_violated), query


def _given(statement: Insert | Update, names: frozenset[str]) -> dict[str, ColumnElement[Any]]:
    """The values in the statement and its parameters, by the key of their column."""
    columns = statement.table.c
    own: Mapping[Any, Any] = statement._values or {}  # noqa: SLF001  # SQLAlchemy has no other way to ask
    given: dict[str, Any] = {getattr(column, "key", column): value for column, value in own.items()}
    given |= {name: bindparam(name) for name in names if name in columns}
    return {key: type_coerce(value, columns[key].type) for key, value in given.items()}


def _new_row(statement: Insert | Update, given: Mapping[str, ColumnElement[Any]]) -> Subquery:
    """The row that the statement would write; for an UPDATE with its unchanged columns and its primary key."""
    if isinstance(statement, Insert):
        return select(*(value.label(key) for key, value in given.items())).subquery()
    columns = [given.get(column.key, column).label(column.key) for column in statement.table.c]
    own_key = [column.label(_own(column)) for column in statement.table.primary_key]
    where = [] if statement.whereclause is None else [statement.whereclause]
    return select(*columns, *own_key).where(*where).subquery()


def _own(column: ColumnElement[Any]) -> str:
    return f"own {column.key}"


def _violating_rows(
    constraint: _Unique | ForeignKeyConstraint, new: Subquery, statement: Insert | Update
) -> Select[Any] | None:
    """A query that selects the new row if it violates the constraint; None if a query cannot tell."""
    if isinstance(constraint, ForeignKeyConstraint):
        parent = constraint.referred_table.alias()
        pairs = [(parent.c[key.column.key], new.c[key.parent.key]) for key in constraint.elements]
        found = select(parent).where(*(target == value for target, value in pairs)).exists()
        return select(new).where(*(value.is_not(None) for _, value in pairs), ~found)
    if getattr(statement, "_post_values_clause", None) is not None:  # ON CONFLICT may have handled the conflict
        return None
    other = statement.table.alias()
    is_same = [other.c[column.key] == new.c[column.key] for column in constraint.columns]
    if isinstance(statement, Update):
        is_same.append(or_(*(other.c[key.key] != new.c[_own(key)] for key in statement.table.primary_key)))
    return select(new).join(other, and_(*is_same))
