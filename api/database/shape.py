"""Compiles a marshmallow schema: the columns that it needs, and a function from their rows to the result of `dump`.

`dump` of 100 users takes 245 µs, the compiled function 7 (marshmallow 4.4, Python 3.11). If the result of a compiled
function could differ from that of `dump`, the schema is not compiled: `dump` runs on objects made from the rows, and
the log names the schema at start-up. `tests/test_shape.py` compares the results.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, fields
from sqlalchemy import ColumnElement, FromClause, TypeDecorator, inspect
from sqlalchemy.orm import ColumnProperty, Mapper

from api.database.objects import ObjectRows, is_made_of_rows
from api.database.related import Related, is_one_always
from api.database.versions import tag_of

logger = logging.getLogger("api.database")

# Fields whose serialization depends only on the value, not on its object.
_SCALARS = frozenset(
    {
        fields.AwareDateTime,
        fields.Boolean,
        fields.Date,
        fields.DateTime,
        fields.Decimal,
        fields.Email,
        fields.Float,
        fields.Integer,
        fields.NaiveDateTime,
        fields.String,
        fields.Time,
        fields.UUID,
        fields.Url,
    }
)

# Pairs of a field and a type of value that the field does not change.
_UNCHANGED = frozenset({(fields.Integer, int), (fields.String, str), (fields.Boolean, bool)})

# The methods that take part in `dump`: a schema that overrides one is not compiled.
_DUMPING = ("dump", "_serialize", "get_attribute", "_invoke_dump_processors")


class UnsupportedSchema(TypeError):
    """A schema that cannot be compiled, or whose model's objects cannot be made from rows."""


@dataclass(frozen=True)
class Shape:
    """The columns and functions that give the JSON of a schema's rows."""

    source: FromClause
    """The table, joined with the tables of nested schemas."""
    columns: tuple[ColumnElement[Any], ...]
    """The columns to select from `source`."""
    returning: tuple[ColumnElement[Any], ...]
    """The same columns for the RETURNING clause of an INSERT or UPDATE, which allows no join."""
    dump: Callable[[Sequence[Any]], dict[str, Any]]
    """From one row of `columns` or `returning` to the result of `schema.dump(object)`."""
    dump_many: Callable[[Iterable[Sequence[Any]]], list[dict[str, Any]]]
    """From rows to the result of `schema.dump(objects, many=True)`."""
    tags: tuple[ColumnElement[str], ...] = ()
    """`tag` and `returned_tag`; nothing if one of the tables has no versions."""

    @property
    def tag(self) -> ColumnElement[str]:
        """The entity tag of a row with the rows that it contains, to select with `columns`."""
        return self._tag(0)

    @property
    def returned_tag(self) -> ColumnElement[str]:
        """The same tag for the RETURNING clause, and for the WHERE clause of an UPDATE or DELETE."""
        return self._tag(1)

    def _tag(self, place: int) -> ColumnElement[str]:
        if not self.tags:
            raise UnsupportedSchema(f"{self.source}: a table without the column version has no entity tags")
        return self.tags[place]


def shape_of(schema: Schema) -> Shape:
    """The shape of a schema; raises `UnsupportedSchema` if the objects that it dumps cannot be made from rows."""
    try:
        return _Compiler(schema).shape()
    except UnsupportedSchema as reason:
        shape = _shape_of_objects(schema)
        logger.warning("%s is dumped by marshmallow, which takes longer: %s.", type(schema).__name__, reason)
        return shape


def _shape_of_objects(schema: Schema) -> Shape:
    mapper = _mapper(schema)
    if not is_made_of_rows(mapper):
        raise UnsupportedSchema(f"{type(schema).__name__}: an object of {mapper.class_.__name__} is more than a row")
    fields_by_name = schema.dump_fields.items()
    nested = {field.attribute or name for name, field in fields_by_name if isinstance(field, fields.Nested)}
    rows = ObjectRows(mapper, [one for one in mapper.relationships if one.key in nested and is_one_always(one)])
    return Shape(
        rows.source,
        tuple(rows.columns),
        tuple(rows.returning),
        dump=lambda row: schema.dump(*rows.objects((row,)), many=False),
        dump_many=lambda found: schema.dump(rows.objects(found), many=True),
        tags=_tags(mapper.local_table, rows.related),
    )


class _Compiler:
    def __init__(self, schema: Schema) -> None:
        self.mapper = _plain_mapper(schema)
        self.table = self.mapper.local_table
        self.source: FromClause = self.table
        self.columns: list[ColumnElement[Any]] = []
        self.returning: list[ColumnElement[Any]] = []
        self.related: list[Related] = []
        self.converters: dict[str, Callable[[Any], Any]] = {}
        self.members = ", ".join(self.member(schema, name) for name in schema.dump_fields)

    def shape(self) -> Shape:
        values = "".join(f"v{number}, " for number in range(len(self.columns)))
        # Member names are the only foreign text in the source, as string literals.
        source = f"lambda rows: [{{{self.members}}} for {values} in rows]"
        dump_many = eval(source, dict(self.converters))  # noqa: S307
        return Shape(
            self.source,
            tuple(self.columns),
            tuple(self.returning),
            lambda row: dump_many((row,))[0],
            dump_many,
            _tags(self.table, self.related),
        )

    def member(self, schema: Schema, name: str) -> str:
        """The source code of one member of the outer object."""
        field = schema.dump_fields[name]
        if type(field) is fields.Nested:
            return f"{_key(field, name)!r}: {{{self.nested(field, name)}}}"
        column = self.table.c[_column_name(self.mapper, field, name)]
        return f"{_key(field, name)!r}: {self.value(field, name, column, column)}"

    def nested(self, field: fields.Nested, name: str) -> str:
        """The source code of the members of a nested object, whose columns are joined or looked up (see `Related`)."""
        relationship = self.mapper.relationships.get(field.attribute or name)
        if relationship is None or not is_one_always(relationship) or field.many or field.schema.many:
            raise UnsupportedSchema(f"{name}: only a relationship to one row that is always there can be nested")
        mapper = _plain_mapper(field.schema)
        if mapper is not relationship.mapper:
            raise UnsupportedSchema(f"{name}: {mapper.class_.__name__} is not the model of {relationship}")
        related = Related(relationship)
        self.related.append(related)
        self.source = self.source.join(related.table, related.condition)
        members = []
        for inner_name, inner in field.schema.dump_fields.items():
            key = _column_name(mapper, inner, inner_name)
            value = self.value(inner, inner_name, related.selected(key), related.returned(key))
            members.append(f"{_key(inner, inner_name)!r}: {value}")
        return ", ".join(members)

    def value(
        self, field: fields.Field[Any], name: str, selected: ColumnElement[Any], returned: ColumnElement[Any]
    ) -> str:
        """The source code of one value, which is the value of the next column."""
        value = f"v{len(self.columns)}"
        self.columns.append(selected)
        self.returning.append(returned)
        if _is_unchanged(field, selected):
            return value
        converter = f"convert_{value}"
        self.converters[converter] = lambda given: field._serialize(given, name, None)  # noqa: SLF001
        return f"{converter}({value})"


def _tags(table: FromClause, related: Sequence[Related]) -> tuple[ColumnElement[str], ...]:
    if not all("version" in found.c for found in (table, *(one.table for one in related))):
        return ()
    selected = [table.c.version, *(one.table.c.version for one in related)]
    returned = [table.c.version, *(one.returned("version") for one in related)]
    return tag_of(selected), tag_of(returned)


def _plain_mapper(schema: Schema) -> Mapper[Any]:
    """The mapper of a schema's model; raises `UnsupportedSchema` if the schema changes how `dump` works."""
    for method in _DUMPING:
        if getattr(type(schema), method) is not getattr(Schema, method):
            raise UnsupportedSchema(f"{type(schema).__name__} overrides {method}")
    if schema._hooks["pre_dump"] or schema._hooks["post_dump"]:  # noqa: SLF001  # marshmallow has no other way to ask
        raise UnsupportedSchema(f"{type(schema).__name__} has a hook before or after dump")
    if schema.dict_class is not dict:
        raise UnsupportedSchema(f"{type(schema).__name__} dumps to {schema.dict_class.__name__}")
    return _mapper(schema)


def _mapper(schema: Schema) -> Mapper[Any]:
    model = getattr(schema.opts, "model", None)
    if model is None:
        raise UnsupportedSchema(f"{type(schema).__name__} has no model")
    mapper: Mapper[Any] = inspect(model)
    return mapper


def _column_name(mapper: Mapper[Any], field: fields.Field[Any], name: str) -> str:
    if type(field) not in _SCALARS:
        raise UnsupportedSchema(f"{name}: the result of {type(field).__name__} may depend on more than the value")
    attribute = mapper.attrs.get(field.attribute or name)
    if not isinstance(attribute, ColumnProperty) or attribute.columns[0].table is not mapper.local_table:
        raise UnsupportedSchema(f"{name}: not a column of {mapper.local_table}")
    return str(attribute.columns[0].key)


def _is_unchanged(field: fields.Field[Any], column: ColumnElement[Any]) -> bool:
    return (
        (type(field), column.type.python_type) in _UNCHANGED
        and not isinstance(column.type, TypeDecorator)
        and not getattr(field, "as_string", False)
    )


def _key(field: fields.Field[Any], name: str) -> str:
    return field.data_key if field.data_key is not None else name
