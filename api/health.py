"""The operations that say how the service is."""

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from api import migrations
from api.database import read
from contractapp import Unavailable

_REVISION = text("SELECT version_num FROM alembic_version")


def get_liveness() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


def get_readiness() -> dict[str, str]:
    """Say whether the database answers and its schema is at head."""
    try:
        rows = read(_REVISION, {})
    except DBAPIError:  # no such table: an empty database, or one made by `create_all`
        rows = []
    if [revision for (revision,) in rows] != [migrations.head()]:
        raise Unavailable("The database schema is not at head.")
    return {"status": "ok"}
