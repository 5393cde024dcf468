"""A row that another row always refers to: joined where that one is selected, looked up where it is returned."""

from operator import eq
from typing import Any

from sqlalchemy import ColumnElement, literal_column, select
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.orm import RelationshipDirection, RelationshipProperty

_FORMAT = DefaultDialect().identifier_preparer.format_column


class Related:
    """The table at the other end of a relationship that `is_one_always`."""

    def __init__(self, relationship: RelationshipProperty[Any]) -> None:
        ((local, remote),) = relationship.local_remote_pairs
        self._name = relationship.key
        self.table = relationship.mapper.local_table.alias(relationship.key)
        self.condition = self.table.c[str(remote.key)] == local
        # In RETURNING a column would lose its table's name on SQLite, and bring its table along on an INSERT.
        returned: ColumnElement[Any] = literal_column(_FORMAT(local, use_table=True))
        self._is_returned = self.table.c[str(remote.key)] == returned

    def selected(self, key: str) -> ColumnElement[Any]:
        """A column of the table, to select from a join on `condition`."""
        return self.table.c[key].label(f"{self._name}_{key}")

    def returned(self, key: str) -> ColumnElement[Any]:
        """The same column, to return from an INSERT or UPDATE, where nothing can be joined."""
        return select(self.table.c[key]).where(self._is_returned).scalar_subquery()


def is_one_always(relationship: RelationshipProperty[Any]) -> bool:
    """Whether the join is `foreign key = its target` and nothing more, over a column that is never null."""
    join = relationship.primaryjoin
    if relationship.direction is not RelationshipDirection.MANYTOONE or getattr(join, "operator", None) is not eq:
        return False
    return all(not local.nullable and local.references(remote) for local, remote in relationship.local_remote_pairs)
