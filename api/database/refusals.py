"""Which constraints refused a row, and the problem that says so to the client.

Looked up only after the database has refused the row, never before: a look before an insert is a race. PostgreSQL names
one constraint, SQLite names none where a foreign key refuses. So the constraints that have a problem are tried with
the refused values: on SQLite in the refused statement's transaction, which holds the write lock, so that the answer is
exact; on PostgreSQL in a new one, so that the constraint it named is told whatever happened in between.
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
    """The problem of the first constraint that the row breaks, with the `errors` of all; None without a problem.

    First in the order in which the table's definition lists them. A constraint is tried where the statement gives its
    columns a value; one that it leaves to a default is told only where the database names it.
    """
    if not isinstance(statement, Insert | Update) or not isinstance(statement.table, Table):
        return None
    constraints = _with_problems(statement.table)
    broken = [constraint for constraint in constraints if _is_named(constraint, error.orig)]
    untried = [constraint for constraint in constraints if constraint not in broken]
    if _is_foreign_key_error(error.orig):  # checked last: every other constraint has let the row pass
        untried = [constraint for constraint in untried if isinstance(constraint, ForeignKeyConstraint)]
    try:
        broken += _tried(connection, statement, parameters, tuple(untried))
    except (SQLAlchemyError, connection.dialect.loaded_dbapi.Error):
        connection.invalidate()
        if not broken:
            raise
    problems: list[Problem] = [constraint.info["problem"]() for constraint in constraints if constraint in broken]
    if not problems:
        return None
    problems[0].errors = tuple(fault for problem in problems for fault in problem.errors)
    return problems[0]


def _with_problems(table: Table) -> list[Constraint]:
    in_order = table._sorted_constraints  # noqa: SLF001  # `constraints` is a set, and nothing else knows the order
    return [constraint for constraint in in_order if "problem" in constraint.info]


def _is_named(constraint: Constraint, error: object) -> bool:
    """PostgreSQL reports a constraint's name, SQLite its columns: `UNIQUE constraint failed: users.email`."""
    if not isinstance(error, sqlite3.Error):
        return str(constraint.name) == getattr(getattr(error, "diag", None), "constraint_name", None)
    if isinstance(constraint, _Unique):
        return str(error) == f"UNIQUE constraint failed: {', '.join(str(column) for column in constraint.columns)}"
    return str(error) == f"CHECK constraint failed: {constraint.name}"


def _is_foreign_key_error(error: object) -> bool:
    if isinstance(error, sqlite3.Error):
        return error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
    return getattr(error, "sqlstate", None) == "23503"


def _tried(
    connection: Connection, statement: Insert | Update, parameters: Parameters, constraints: tuple[Constraint, ...]
) -> list[Constraint]:
    """Those of the constraints that the values break now."""
    tried, look = _look(statement, constraints, frozenset(parameters))
    if not tried:
        return []
    if connection.dialect.name != "sqlite":
        connection.connection.rollback()  # PostgreSQL runs nothing more in a transaction that met an error
    row = connection.execute(look, parameters).one()
    return [constraint for constraint, is_broken in zip(tried, row, strict=True) if is_broken]


@lru_cache(maxsize=256)
def _look(
    statement: Insert | Update, constraints: tuple[Constraint, ...], names: frozenset[str]
) -> tuple[list[Constraint], Select[Any]]:
    """The constraints that can be tried, and what selects for each whether the values break it."""
    given = _given(statement, names)
    if not given:
        return [], select()
    new = _new_row(statement, given)
    is_broken = {
        constraint: rows.exists()
        for constraint in constraints
        if isinstance(constraint, _Unique | ForeignKeyConstraint)
        and all(column.key in new.c for column in constraint.columns)
        and (rows := _breaking_rows(constraint, new, statement)) is not None
    }
    look: Any = select(*is_broken.values())
    return list(is_broken), look


def _given(statement: Insert | Update, names: frozenset[str]) -> dict[str, ColumnElement[Any]]:
    """The values of the statement's own and of its parameters, by the column's key."""
    columns = statement.table.c
    own: Mapping[Any, Any] = statement._values or {}  # noqa: SLF001  # SQLAlchemy has no other way to ask
    given: dict[str, Any] = {getattr(column, "key", column): value for column, value in own.items()}
    given |= {name: bindparam(name) for name in names if name in columns}
    return {key: type_coerce(value, columns[key].type) for key, value in given.items()}


def _new_row(statement: Insert | Update, given: Mapping[str, ColumnElement[Any]]) -> Subquery:
    """The row as it would be, as far as the statement says; of an UPDATE also what stays, and the row's own key."""
    if isinstance(statement, Insert):
        return select(*(value.label(key) for key, value in given.items())).subquery()
    columns = [given.get(column.key, column).label(column.key) for column in statement.table.c]
    own_key = [column.label(_own(column)) for column in statement.table.primary_key]
    where = [] if statement.whereclause is None else [statement.whereclause]
    return select(*columns, *own_key).where(*where).subquery()


def _own(column: ColumnElement[Any]) -> str:
    return f"own {column.key}"


def _breaking_rows(
    constraint: _Unique | ForeignKeyConstraint, new: Subquery, statement: Insert | Update
) -> Select[Any] | None:
    """Selects a row exactly where the new row breaks the constraint; None where that cannot be told."""
    if isinstance(constraint, ForeignKeyConstraint):
        parent = constraint.referred_table.alias()
        pairs = [(parent.c[key.column.key], new.c[key.parent.key]) for key in constraint.elements]
        found = select(parent).where(*(theirs == ours for theirs, ours in pairs)).exists()
        return select(new).where(*(ours.is_not(None) for _, ours in pairs), ~found)
    if getattr(statement, "_post_values_clause", None) is not None:  # ON CONFLICT may have let it pass
        return None
    other = statement.table.alias()
    is_same = [other.c[column.key] == new.c[column.key] for column in constraint.columns]
    if isinstance(statement, Update):
        is_same.append(or_(*(other.c[key.key] != new.c[_own(key)] for key in statement.table.primary_key)))
    return select(new).join(other, and_(*is_same))
