"""The row at the other end of a NOT NULL foreign key: joined in a SELECT, looked up by a subquery in a RETURNING."""

from operator import eq
from typing import Any

from sqlalchemy import ColumnElement, literal_column, select
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.orm import RelationshipDirection, RelationshipProperty

_FORMAT = DefaultDialect().identifier_preparer.format_column


class Related:
    """The table at the other end of a relationship for which `is_one_always` holds."""

    def __init__(self, relationship: RelationshipProperty[Any]) -> None:
        ((local, remote),) = relationship.local_remote_pairs
        self._name = relationship.key
        self.table = relationship.mapper.local_table.alias(relationship.key)
        self.condition = self.table.c[str(remote.key)] == local
        # Literal SQL: in RETURNING, SQLAlchemy would omit the name of the column's table on SQLite, and on an INSERT
        # add this table to the FROM clause of the subquery.
        returned: ColumnElement[Any] = literal_column(_FORMAT(local, use_table=True))
        self._is_returned = self.table.c[str(remote.key)] == returned

    def selected(self, key: str) -> ColumnElement[Any]:
        """A column of the table, to select from a join on `condition`."""
        return self.table.c[key].label(f"{self._name}_{key}")

    def returned(self, key: str) -> ColumnElement[Any]:
        """The same column, to return from an INSERT or UPDATE, where nothing can be joined."""
        return select(self.table.c[key]).where(self._is_returned).scalar_subquery()


def is_one_always(relationship: RelationshipProperty[Any]) -> bool:
    """Whether the join is exactly `foreign key = its target`, and the foreign key is NOT NULL."""
    join = relationship.primaryjoin
    if relationship.direction is not RelationshipDirection.MANYTOONE or getattr(join, "operator", None) is not eq:
        return False
    return all(not local.nullable and local.references(remote) for local, remote in relationship.local_remote_pairs)
