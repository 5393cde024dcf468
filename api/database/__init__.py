"""The database: `db`, its two engines, and the functions `read`, `read_as_writer` and `write` for handlers.

An expected error of the database is raised as the problem that the client gets; any other error is raised unchanged.
"""

from api.database.access import dispose, init_app, read, read_as_writer, report_slow_statements, write
from api.database.engines import Base, db
from api.database.utc import UtcDateTime, UtcNow
from api.database.versions import Versioned, changing

__all__ = [
    "Base",
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
    "write",
]
