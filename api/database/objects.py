"""Makes model objects of rows, for schemas that need more than column values: properties or relationships."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, FromClause, Table
from sqlalchemy.orm import Mapper, RelationshipProperty, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value

from api.database.engines import db
from api.database.related import Related


class ObjectRows:
    """The columns of a model's objects, and the objects made from rows of these columns.

    Each object is loaded together with its object in each of the given relationships, for which `is_one_always` must
    hold. `db.session` loads all other attributes when they are used, as it does for any object.
    """

    def __init__(self, mapper: Mapper[Any], relationships: Sequence[RelationshipProperty[Any]]) -> None:
        table: FromClause = mapper.local_table
        self._parts: list[tuple[str | None, Mapper[Any], list[str]]] = [
            (None, mapper, [key for key, _ in _columns(mapper)])
        ]
        self.source = table
        self.columns: list[ColumnElement[Any]] = [column for _, column in _columns(mapper)]
        self.returning = list(self.columns)
        self.related = [Related(relationship) for relationship in relationships]
        for relationship, related in zip(relationships, self.related, strict=True):
            found = list(_columns(relationship.mapper))
            self._parts.append((relationship.key, relationship.mapper, [key for key, _ in found]))
            self.source = self.source.join(related.table, related.condition)
            self.columns += [related.selected(column.key) for _, column in found]
            self.returning += [related.returned(column.key) for _, column in found]

    def objects(self, rows: Iterable[Sequence[Any]]) -> list[Any]:
        """The objects made from rows of `columns` or `returning`, added to `db.session`."""
        return [db.session.merge(self._object(row), load=False) for row in rows]

    def _object(self, row: Sequence[Any]) -> Any:
        values = iter(row)
        (_, mapper, keys), *others = self._parts
        own = {key: next(values) for key in keys}
        for name, related, related_keys in others:
            own[str(name)] = _detached(related, {key: next(values) for key in related_keys})
        return _detached(mapper, own)


def is_made_of_rows(mapper: Mapper[Any]) -> bool:
    """Whether each row of the model's table is an object of exactly this model, without inheritance."""
    return isinstance(mapper.local_table, Table) and mapper.inherits is None and mapper.polymorphic_on is None


def _columns(mapper: Mapper[Any]) -> Iterator[tuple[str, Column[Any]]]:
    """The columns of the model's table, with the names of their attributes."""
    for attribute in mapper.column_attrs:
        column = attribute.columns[0]
        if isinstance(column, Column) and column.table is mapper.local_table:
            yield attribute.key, column


def _detached(mapper: Mapper[Any], values: dict[str, Any]) -> Any:
    """An object as if it had been loaded with these values; other attributes are loaded when they are used."""
    made = mapper.class_manager.new_instance()
    for name, value in values.items():
        set_committed_value(made, name, value)
    make_transient_to_detached(made)
    return made
