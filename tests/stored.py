"""The tables without rows, and with the rows that the contract shows in its examples of lists."""

from typing import Any

from sqlalchemy import Connection, insert, text

from api import db
from tests.resources import OPERATIONS, RESOURCES, Resource

_TABLES = [table.name for table in reversed(db.metadata.sorted_tables)]  # children first
_EMPTY = {
    "sqlite": (*(f"DELETE FROM {table}" for table in _TABLES), "DELETE FROM sqlite_sequence"),
    "postgresql": (f"TRUNCATE {', '.join(_TABLES)} RESTART IDENTITY CASCADE",),
}


def empty(connection: Connection) -> None:
    """Delete all rows; ids begin at 1 again."""
    for statement in _EMPTY[connection.dialect.name]:
        connection.execute(text(statement))


def new_rows(resource: Resource) -> list[dict[str, Any]]:
    """The bodies that create the rows of the first example of the list, in the order of their ids, from 1."""
    content = OPERATIONS[f"list_{resource.table.name}"].definition["responses"]["200"]["content"]
    shown = next(iter(content["application/json"]["examples"].values()))["value"]
    body = OPERATIONS[f"create_{resource.name}"].definition["requestBody"]["content"]["application/json"]["schema"]
    return [{name: row[name] for name in body["properties"] if name in row} for row in shown]


def store(connection: Connection) -> None:
    """Replace all rows by those of the examples."""
    empty(connection)
    for resource in RESOURCES.values():
        for row in new_rows(resource):
            connection.execute(insert(resource.table).values(row))
