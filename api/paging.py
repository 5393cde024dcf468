"""Pages of a list ordered by id. A page begins after a given id, so a late page costs no more than the first."""

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
    """The statement that `page` runs."""
    return (
        select(*shape.columns)
        .select_from(shape.source)
        .where(id_column > bindparam("after"), *conditions)
        .order_by(id_column)
        .limit(bindparam("count", type_=Integer))
    )


def page(shape: Shape, statement: Select[Any], name: str, limit: int, cursor: str | None, **filters: int) -> Page:
    """A handler's return value: one page of the list called `name`, with a `Link` header if more rows follow."""
    after = 0 if cursor is None else _decoded(cursor, _scope(name, filters))
    rows = read(statement, {"after": after, "count": limit + 1, **filters})
    items = shape.dump_many(rows[:limit])
    if len(rows) <= limit:
        return items, 200, {}
    following = _encoded(_scope(name, filters), items[-1]["id"])
    query = urlencode({"limit": limit, **filters, "cursor": following})
    return items, 200, {"Link": f'<?{query}>; rel="next"'}


def _scope(name: str, filters: dict[str, int]) -> str:
    """The list and filter that a cursor belongs to; a cursor of another scope is refused."""
    return f"{name}?{urlencode(filters)}"


def _encoded(scope: str, after: int) -> str:
    return urlsafe_b64encode(f"{scope}>{after}".encode()).decode().rstrip("=")


def _decoded(cursor: str, scope: str) -> int:
    """The id in a cursor; raises `InvalidRequest` if the cursor is not one that `_encoded` returns for this scope."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        after = int(text.removeprefix(f"{scope}>"))
    except ValueError:
        after = 0
    # The decoders accept several spellings of one value. Encoding the id again shows whether this is the right one.
    if not 1 <= after <= _MAX_ID or _encoded(scope, after) != cursor:
        raise InvalidRequest(errors=[Fault("query", "/cursor", "is not a cursor of this list")])
    return after
