"""The version of a row, which begins at 1 and grows by 1 with each change, and the entity tags made of versions.

No id is used for a second row, so an id and a version identify one state of one row, also after the row was deleted.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, FromClause, String, Table, Update, cast, literal_column, update
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

_QUOTE, _DASH = (literal_column(f"'{mark}'", String) for mark in ('"', "-"))


class Versioned:
    """A mixin for models: the column `version`. The database sets it to 1; `changing` and `db.session` increase it."""

    version: Mapped[int] = mapped_column(BigInteger, server_default="1")

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805  # SQLAlchemy passes the class
        return {"version_id_col": cls.version}


def changing(table: FromClause) -> Update:
    """An UPDATE of a table that increases the version of each row."""
    assert isinstance(table, Table)
    return update(table).values(version=table.c.version + 1)


def tag_of(versions: Iterable[ColumnElement[int]]) -> ColumnElement[str]:
    """The strong entity tag (RFC 9110, section 8.8.3) of a row with these versions, such as `"3-7"`, quotes included.

    The database makes it, so that a statement can return it with the row and compare it in its WHERE clause.
    """
    first, *others = (cast(version, String) for version in versions)
    tag = _QUOTE + first
    for version in others:
        tag += _DASH + version
    return tag + _QUOTE
