"""Points in time: a column type and its default, which behave in the same way on both databases."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, TypeDecorator
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time with microseconds: a timezone-aware `datetime` in UTC, in the format of RFC 3339 in a response.

    A naive `datetime` is refused with `ValueError`. SQLite stores a text, whose order is the order in time.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The same point in time in UTC, since SQLite stores no time zone."""
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError("a datetime without a time zone is not a point in time")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The same point in time in UTC; PostgreSQL returns it in the time zone of the session."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class UtcNow(FunctionElement[datetime]):
    """The current time of the database, for `server_default`: `mapped_column(UtcDateTime, server_default=UtcNow())`.

    On PostgreSQL it has microseconds and is the time at which the transaction began; on SQLite it has milliseconds.
    """

    type = UtcDateTime()
    inherit_cache = True


@compiles(UtcNow)
def _current_timestamp(_element: UtcNow, _compiler: SQLCompiler, **_: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(UtcNow, "sqlite")
def _as_stored_on_sqlite(_element: UtcNow, _compiler: SQLCompiler, **_: Any) -> str:
    """The text that `UtcDateTime` stores. CURRENT_TIMESTAMP has no fraction: equal times would be different texts."""
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"
