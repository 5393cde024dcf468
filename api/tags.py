"""Entity tags of rows: answers that have them, and writes that run only if a row still has one of them."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import Delete, Select, Update, bindparam

from api.database import read_as_writer, write
from api.database.shape import Shape
from contractapp import EntityTags, PreconditionFailed

Row = Sequence[Any]
Tagged = tuple[dict[str, Any], int, dict[str, str]]
Statement = TypeVar("Statement", Update, Delete)


def tagged(shape: Shape, row: Row) -> Tagged:
    """A handler's return value: the JSON of a row whose last value is its tag, and the tag as the header `ETag`."""
    return shape.dump(row[:-1]), 200, {"ETag": row[-1]}


def if_tagged(statement: Statement, shape: Shape) -> Statement:
    """The statement, for `write_if`: it changes a row only if the row has the tag in the parameter `if_match`."""
    return statement.where(shape.returned_tag == bindparam("if_match"))


def write_if(
    if_match: EntityTags | None,
    statements: tuple[Update, Update] | tuple[Delete, Delete],
    parameters: dict[str, Any],
    current: tuple[Select[Any], dict[str, Any]],
) -> Row | None:
    """Change a row if it has one of the tags; the row that the statement returns, or None if there is no such row.

    The statement compares the tag, so that no change of another client is lost. Raises `PreconditionFailed`.

    Args:
        if_match: The tags; None and `*` stand for every tag.
        statements: The statement, and the result of `if_tagged` for it.
        parameters: Those of the statement.
        current: The statement, with its parameters, that reads the row with its tag as the last value. It runs only if
            no row was changed. If the current tag is another one of the list, the change is tried again with it.
    """
    always, guarded = statements
    if if_match is None or if_match.is_any:
        return write(always, parameters)
    tag = next(iter(if_match.strong), None)
    while True:
        changed = None if tag is None else write(guarded, {**parameters, "if_match": tag})
        if changed is not None:
            return changed
        found = read_as_writer(*current)
        if not found:
            return None
        tag = found[0][-1]
        if not if_match.match_strongly(tag):
            raise PreconditionFailed(tag)
