"""The health checks: is the process alive, and is the service ready."""

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from api import migrations
from api.database import read
from contractapp import Unavailable

_REVISION = text("SELECT version_num FROM alembic_version")


def get_liveness() -> dict[str, str]:
    """Answer 200 without asking the database."""
    return {"status": "ok"}


def get_readiness() -> dict[str, str]:
    """Answer 200 if the database answers and its schema is at the revision that the code expects."""
    try:
        rows = read(_REVISION, {})
    except DBAPIError:  # no such table: the database is empty, or `create_all` made its tables
        rows = []
    if [revision for (revision,) in rows] != [migrations.head()]:
        raise Unavailable("The database schema is not at head.")
    return {"status": "ok"}
