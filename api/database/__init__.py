"""The database: `db`, its two engines, and the only two ways a handler reaches it, `read` and `write`.

Whatever goes wrong leaves here as the problem that a client should see, or unchanged when nobody foresaw it.
"""

from api.database.access import dispose, init_app, read, report_slow_statements, write
from api.database.engines import Base, db
from api.database.utc import UtcDateTime, UtcNow

__all__ = ["Base", "UtcDateTime", "UtcNow", "db", "dispose", "init_app", "read", "report_slow_statements", "write"]
