"""Rows as objects of their model, for a schema that asks them for more than values: properties, relationships."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, FromClause, Table
from sqlalchemy.orm import Mapper, RelationshipProperty, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value

from api.database.engines import db
from api.database.related import Related


class ObjectRows:
    """The columns that make an object of a model, and the objects made of their rows.

    With each object comes the one at the other end of each relationship given, which must be `is_one_always`. What else
    is asked of an object `db.session` loads, as it does for any other.
    """

    def __init__(self, mapper: Mapper[Any], relationships: Iterable[RelationshipProperty[Any]]) -> None:
        table: FromClause = mapper.local_table
        self._parts: list[tuple[str | None, Mapper[Any], list[str]]] = [
            (None, mapper, [key for key, _ in _columns(mapper)])
        ]
        self.source = table
        self.columns: list[ColumnElement[Any]] = [column for _, column in _columns(mapper)]
        self.returning = list(self.columns)
        for relationship in relationships:
            related = Related(relationship)
            found = list(_columns(relationship.mapper))
            self._parts.append((relationship.key, relationship.mapper, [key for key, _ in found]))
            self.source = self.source.join(related.table, related.condition)
            self.columns += [related.selected(column.key) for _, column in found]
            self.returning += [related.returned(column.key) for _, column in found]

    def objects(self, rows: Iterable[Sequence[Any]]) -> list[Any]:
        """The objects of rows of `columns` or `returning`, in `db.session`."""
        return [db.session.merge(self._object(row), load=False) for row in rows]

    def _object(self, row: Sequence[Any]) -> Any:
        values = iter(row)
        (_, mapper, keys), *others = self._parts
        own = {key: next(values) for key in keys}
        for name, related, related_keys in others:
            own[str(name)] = _detached(related, {key: next(values) for key in related_keys})
        return _detached(mapper, own)


def is_made_of_rows(mapper: Mapper[Any]) -> bool:
    """Whether one row of the model's table is one object of the model, and of no class derived from it."""
    return isinstance(mapper.local_table, Table) and mapper.inherits is None and mapper.polymorphic_on is None


def _columns(mapper: Mapper[Any]) -> Iterator[tuple[str, Column[Any]]]:
    """The columns of the model's table, by the names of its attributes."""
    for attribute in mapper.column_attrs:
        column = attribute.columns[0]
        if isinstance(column, Column) and column.table is mapper.local_table:
            yield attribute.key, column


def _detached(mapper: Mapper[Any], values: dict[str, Any]) -> Any:
    """An object as if loaded with these values; what is not among them is loaded when it is asked for."""
    made = mapper.class_manager.new_instance()
    for name, value in values.items():
        set_committed_value(made, name, value)
    make_transient_to_detached(made)
    return made
