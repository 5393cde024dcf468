"""The operations of the contract, and the resources: the tables that have operations of their own.

This module names no resource: all names follow a rule. The operation `create_user` makes `user` a resource;
the operation's tag, `users`, is its table, `user_id` its path parameter, `user_schema` shows a row, and the fixture
`make_user` stores one.
"""

from pathlib import Path
from typing import Any, NamedTuple

import yaml
from marshmallow import Schema
from sqlalchemy import Column, ForeignKeyConstraint, Table, UniqueConstraint

from api import db, schemas
from contractapp import Problem
from contractapp.testing.ledger import METHODS, Contract

ROOT = Path(__file__).parent.parent
CONTRACT = Contract(yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text()))


class Operation(NamedTuple):
    """An operation of the contract, with its references resolved."""

    name: str
    method: str
    path: str
    definition: dict[str, Any]

    @property
    def table(self) -> str:
        """The name of the table, which is the operation's tag; not every tag is one."""
        return str(self.definition["tags"][0])

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Those of the path and its own, by name."""
        found = [*CONTRACT.paths[self.path].get("parameters", ()), *self.definition.get("parameters", ())]
        return {parameter["name"]: parameter for parameter in found}

    @property
    def bodies(self) -> dict[str, Any]:
        """The examples of its request body, by name."""
        content = self.definition.get("requestBody", {}).get("content", {})
        return {name: example["value"] for media in content.values() for name, example in media["examples"].items()}

    def url(self, ident: str = "1") -> str:
        """The path at which it is served, `ident` in the place of every parameter."""
        segments = (ident if segment.startswith("{") else segment for segment in self.path.split("/"))
        return f"/api{'/'.join(segments)}"


OPERATIONS = {
    item[method]["operationId"]: Operation(item[method]["operationId"], method.upper(), path, item[method])
    for path, item in CONTRACT.paths.items()
    for method in METHODS
    if method in item
}


class Refusal(NamedTuple):
    """A constraint, and the problem of a request that violates it."""

    table: Table
    columns: tuple[Column[Any], ...]
    targets: tuple[Column[Any], ...]
    """What the columns refer to; nothing when they are to be unique."""
    problem: type[Problem]


class Resource(NamedTuple):
    """A table with operations of its own."""

    name: str
    """In the singular."""
    table: Table

    @property
    def schema(self) -> Schema:
        """The marshmallow schema of a row."""
        found: Schema = getattr(schemas, f"{self.name}_schema")
        return found

    @property
    def response(self) -> str:
        """The component that is the schema of a row."""
        return _component(f"create_{self.name}", "responses", "201")

    @property
    def new(self) -> str:
        """The component that is the schema of a new row."""
        return _component(f"create_{self.name}", "requestBody")

    @property
    def changes(self) -> str | None:
        """The component that is the schema of the changes to a row; None if a row cannot be changed."""
        operation = f"update_{self.name}"
        return _component(operation, "requestBody") if operation in OPERATIONS else None

    @property
    def parents(self) -> dict[str, "Resource"]:
        """The resources that a row refers to, by the column that refers to them."""
        return {
            str(key.column_keys[0]): RESOURCES[key.referred_table.name]
            for key in self.table.foreign_key_constraints
            if key.referred_table.name in RESOURCES
        }

    @property
    def refusals(self) -> list[Refusal]:
        """Its unique columns and references, in the order of their names."""
        found = (
            constraint
            for constraint in sorted(self.table.constraints, key=lambda constraint: str(constraint.name))
            if isinstance(constraint, UniqueConstraint | ForeignKeyConstraint)
        )
        return [Refusal(self.table, tuple(c.columns), _targets(c), c.info.get("problem", Problem)) for c in found]


def refusals_of(operation: Operation) -> list[Refusal]:
    """The constraints that a request body may violate: those of the table on a column that is a member of the body."""
    for media in operation.definition.get("requestBody", {}).get("content", {}).values():
        members = media["schema"]["properties"].keys()
        return [
            found
            for found in RESOURCES[operation.table].refusals
            if members & {column.name for column in found.columns}
        ]
    return []


def _component(operation: str, *place: str) -> str:
    """The name of the schema at this place of an operation."""
    node: Any = CONTRACT.document["paths"][OPERATIONS[operation].path][OPERATIONS[operation].method.lower()]
    for key in (*place, "content", "application/json", "schema"):
        node = node[key]
    return str(node["$ref"].rpartition("/")[2])


def _targets(constraint: UniqueConstraint | ForeignKeyConstraint) -> tuple[Column[Any], ...]:
    keys = constraint.elements if isinstance(constraint, ForeignKeyConstraint) else ()
    return tuple(key.column for key in keys)


_NAMES = {o.table: o.name.removeprefix("create_") for o in OPERATIONS.values() if o.name.startswith("create_")}

# Resources that others refer to come first.
RESOURCES = {
    table.name: Resource(_NAMES[table.name], table) for table in db.metadata.sorted_tables if table.name in _NAMES
}
