"""The database: `db`, its two engines, and the functions `read`, `read_as_writer` and `write` for handlers.

In the block of a `transaction`, each `read` and `write` is a part of it.

An expected error of the database is raised as the problem that the client gets; any other error is raised unchanged.
"""

from api.database.access import (
    dispose,
    init_app,
    read,
    read_as_writer,
    report_slow_statements,
    transaction,
    write,
)
from api.database.engines import Base, db
from api.database.errors import RowLocked
from api.database.utc import UtcDateTime, UtcNow
from api.database.versions import Versioned, changing

__all__ = [
    "Base",
    "RowLocked",
    "UtcDateTime",
    "UtcNow",
    "Versioned",
    "changing",
    "db",
    "dispose",
    "init_app",
    "read",
    "read_as_writer",
    "report_slow_statements",
    "transaction",
    "write",
]
