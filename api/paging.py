"""Pages of a list, ordered by id: a page begins after an id, so that its cost does not grow with its depth."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import ColumnElement, Integer, Select, bindparam, select

from api.database import read
from api.database.shape import Shape
from contractapp import Fault, InvalidRequest

_MAX_ID = 2**53 - 1

Page = tuple[list[dict[str, Any]], int, dict[str, str]]


def select_page(shape: Shape, id_column: ColumnElement[int], *conditions: ColumnElement[bool]) -> Select[Any]:
    """The statement that `page` reads."""
    return (
        select(*shape.columns)
        .select_from(shape.source)
        .where(id_column > bindparam("after"), *conditions)
        .order_by(id_column)
        .limit(bindparam("count", type_=Integer))
    )


def page(shape: Shape, statement: Select[Any], name: str, limit: int, cursor: str | None, **filters: int) -> Page:
    """A handler's answer: one page of the list called `name`, with a `Link` exactly when a further row exists."""
    after = 0 if cursor is None else _decoded(cursor, _scope(name, filters))
    rows = read(statement, {"after": after, "count": limit + 1, **filters})
    items = shape.dump_many(rows[:limit])
    if len(rows) <= limit:
        return items, 200, {}
    following = _encoded(_scope(name, filters), items[-1]["id"])
    query = urlencode({"limit": limit, **filters, "cursor": following})
    return items, 200, {"Link": f'<?{query}>; rel="next"'}


def _scope(name: str, filters: dict[str, int]) -> str:
    """What a cursor belongs to: no other list or filter takes it."""
    return f"{name}?{urlencode(filters)}"


def _encoded(scope: str, after: int) -> str:
    return urlsafe_b64encode(f"{scope}>{after}".encode()).decode().rstrip("=")


def _decoded(cursor: str, scope: str) -> int:
    """The id that a cursor stands for; raises `InvalidRequest` for whatever `_encoded` did not make."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        after = int(text.removeprefix(f"{scope}>"))
    except ValueError:
        after = 0
    # The decoders forgive much: encoding again tells.
    if not 1 <= after <= _MAX_ID or _encoded(scope, after) != cursor:
        raise InvalidRequest(errors=[Fault("query", "/cursor", "is not a cursor of this list")])
    return after
