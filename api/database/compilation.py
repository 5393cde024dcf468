"""Compiles a Core statement for the driver: its SQL, and SQLAlchemy's conversions of its arguments and rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    Boolean,
    Date,
    DateTime,
    Delete,
    Dialect,
    Enum,
    Insert,
    Integer,
    ScalarSelect,
    Select,
    String,
    TextClause,
    TypeDecorator,
    Update,
    Uuid,
)
from sqlalchemy.exc import CompileError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

Statement = Select[Any] | TextClause | Insert | Update | Delete
Parameters = Mapping[str, Any]
Rows = Sequence[Sequence[Any]]

# Types whose conversion depends only on the value. Others, such as Numeric, need the column's type from the driver.
_BY_VALUE = (Boolean, Date, DateTime, Enum, Integer, String, Uuid)

_Converter = Callable[[Any], Any]


class CompiledStatement(NamedTuple):
    """A statement compiled for the driver."""

    sql: str
    arguments: Callable[[Parameters], Any]
    """Converts values by name into the second argument of the driver's `execute`."""
    rows: Callable[[Rows], Rows] | None
    """Converts the driver's rows into SQLAlchemy's; None if they are the same."""
    lookups: tuple[int, ...]
    """The result of the function `lookups` for this statement."""
    is_checked: bool
    """Whether something can be wrong with the rows of a change, which is then not to be stored."""


class LeftToSQLAlchemy(Exception):
    """The driver alone cannot run a statement; the message is the reason, as the end of a sentence."""


def compile_statement(statement: Statement, names: frozenset[str], dialect: Dialect) -> CompiledStatement:
    """The statement, compiled for values with these names; raises `LeftToSQLAlchemy`."""
    compiled = _compiled(statement, dialect, names)
    rows, looked_up, columns = _rows(statement, dialect), lookups(statement), _columns(statement)
    # Without columns, the driver has no rows to return, which is an error; and it cannot read every point in time.
    is_plain = bool(columns) and all(isinstance(column.type, Integer | String) for column in columns)
    return CompiledStatement(
        str(compiled),
        _arguments(compiled, _constants(compiled, names, dialect), _bind_converters(compiled, names, dialect)),
        rows,
        looked_up,
        is_checked=bool(looked_up) or rows is not None or not is_plain,
    )


def reason_to_leave(statement: Statement, dialect: Dialect) -> str | None:
    """The reason why the driver alone cannot run a statement, for any choice of columns; None if no reason is known."""
    given: list[frozenset[str] | None] = [None]
    if isinstance(statement, Insert | Update):
        columns = statement.table.columns.values()
        given.append(frozenset(column.key for column in columns if not (column.default or column.onupdate)))
    try:
        for names in given:
            _compiled(statement, dialect, names)
    except LeftToSQLAlchemy as reason:
        return str(reason)
    except CompileError:  # the statement can be compiled only with the names that it will be run with
        pass
    return None


def lookups(statement: Statement) -> tuple[int, ...]:
    """The positions of the RETURNING columns that look up a NOT NULL value; NULL there means that no row was found."""
    if not isinstance(statement, Insert | Update):
        return ()
    return tuple(
        place
        for place, column in enumerate(_columns(statement))
        if isinstance(column, ScalarSelect) and not getattr(column.element.selected_columns[0], "nullable", True)
    )


def _columns(statement: Statement) -> Sequence[Any]:
    return tuple(getattr(statement, "exported_columns", ()))


def _compiled(statement: Statement, dialect: Dialect, names: frozenset[str] | None) -> SQLCompiler:
    """The statement, compiled for these names, or for all columns if None; raises `LeftToSQLAlchemy`."""
    compiled: Any = statement.compile(dialect=dialect, column_keys=None if names is None else sorted(names))
    for column in (*compiled.insert_prefetch, *compiled.update_prefetch):
        raise LeftToSQLAlchemy(f"Python computes the value of {column}")
    if compiled.literal_execute_params or compiled.post_compile_params:
        raise LeftToSQLAlchemy("its SQL depends on a parameter's value, as a list of values does")
    if compiled.escaped_bind_names:
        raise LeftToSQLAlchemy(f"the driver cannot take {next(iter(compiled.escaped_bind_names))!r} as a name")
    for value in (*compiled.binds.values(), *_columns(statement)):
        if not isinstance(_undecorated(value.type), _BY_VALUE):
            raise LeftToSQLAlchemy(f"the type of {getattr(value, 'key', None) or value} is {value.type!r}")
    found: SQLCompiler = compiled
    return found


def _undecorated(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    while isinstance(type_, TypeDecorator):
        type_ = type_.impl_instance
    return type_


def _constants(compiled: SQLCompiler, names: frozenset[str], dialect: Dialect) -> dict[str, Any]:
    """The values that are part of the statement, by name, converted for the driver."""
    values = compiled.construct_params(dict.fromkeys(names))
    constant = {name: value for name, value in values.items() if name not in names}
    return _converted(constant, _bind_converters(compiled, constant, dialect))


def _arguments(
    compiled: SQLCompiler, constant: Parameters, converters: Mapping[str, _Converter]
) -> Callable[[Parameters], Any]:
    arguments = _ordered(compiled.positiontup, constant)
    if not converters:
        return arguments
    return lambda given: arguments(_converted(given, converters))


def _ordered(order: Sequence[str] | None, constant: Parameters) -> Callable[[Parameters], Any]:
    """A function from the given values to all values: by name, or as a sequence in the order of the placeholders."""
    if order is None:
        return (lambda given: {**given, **constant}) if constant else lambda given: given
    if constant:
        return lambda given: [constant.get(name, given.get(name)) for name in order]
    if len(order) == 1:
        (name,) = order
        return lambda given: (given[name],)
    return itemgetter(*order) if order else lambda _: ()


def _converted(values: Parameters, converters: Mapping[str, _Converter]) -> dict[str, Any]:
    return {name: converters[name](value) if name in converters else value for name, value in values.items()}


def _bind_converters(compiled: SQLCompiler, names: Iterable[str], dialect: Dialect) -> dict[str, _Converter]:
    """The conversions of values for the driver, by name; names whose values need no conversion are left out."""
    types = {name: compiled.binds[name].type for name in names if name in compiled.binds}
    found = {name: type_.dialect_impl(dialect).bind_processor(dialect) for name, type_ in types.items()}
    return {name: converter for name, converter in found.items() if converter is not None}


def _rows(statement: Statement, dialect: Dialect) -> Callable[[Rows], Rows] | None:
    types = [column.type.dialect_impl(dialect) for column in _columns(statement)]
    found = [(place, type_.result_processor(dialect, None)) for place, type_ in enumerate(types)]
    converters = [(place, converter) for place, converter in found if converter is not None]
    if not converters:
        return None

    def converted(row: Sequence[Any]) -> tuple[Any, ...]:
        values = list(row)
        for place, convert in converters:
            values[place] = convert(values[place])
        return tuple(values)

    return lambda rows: [converted(row) for row in rows]
