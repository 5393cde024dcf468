"""Checks whether `api serve` would start, without changing the database.

`api serve` creates a missing SQLite file and brings the schema up to date, so a missing, empty or outdated database is
no fault. A database that cannot be reached, written or brought up to date is a fault.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from api import migrations
from api.database import sqlite


class Unfit(Exception):
    """`api serve` would not start; the message is a sentence that says why."""


def pending_revisions(engine: Engine) -> list[str]:
    """The revisions that `api serve` would run; raises `Unfit`, or the error of the database."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            pending = migrations.pending(connection)
            if pending:
                _require_right_to_create(connection)
            return pending
    path = sqlite.path_of(engine.url)
    if path is None:
        return migrations.pending(None)
    mode = engine.url.query.get("mode", "rwc") if "uri" in engine.url.query else "rwc"
    if mode == "ro" or (mode == "rw" and not path.exists()):
        raise Unfit(f"The database cannot be used: it is missing or cannot be written (mode={mode}).")
    _require_writable(path)
    if not path.exists():
        return migrations.pending(None)
    with _read_only(path) as connection:
        return migrations.pending(connection)


def _require_right_to_create(connection: Connection) -> None:
    statement = "SELECT current_setting('transaction_read_only'), has_schema_privilege(current_schema(), 'CREATE')"
    read_only, may_create = connection.execute(text(statement)).one()
    if read_only == "on":
        raise Unfit("The database's schema is not up to date, and the database is read-only.")
    if not may_create:
        raise Unfit("The database's schema is not up to date, and the database user may not create tables.")


def _require_writable(path: Path) -> None:
    """SQLite writes its log beside the database; it creates a missing file, but not a missing folder."""
    sqlite.require_own_log(str(path))
    if not path.parent.is_dir():
        raise Unfit(f"The database cannot be used: {path.parent} is not a folder.")
    if path.exists() and not path.is_file():
        raise Unfit(f"The database cannot be used: {path} is not a file.")
    for needed in (path, path.parent):
        if needed.exists() and not os.access(needed, os.W_OK):
            raise Unfit(f"The database cannot be used: {needed} is not writable.")


@contextmanager
def _read_only(path: Path) -> Iterator[Connection]:
    """A connection that changes no file, except that SQLite may create the index (-shm) of a log that is there."""
    # Without a log (-wal) no process has the database open, so it can be read as immutable, which creates no files.
    has_log = Path(f"{os.path.realpath(path)}-wal").exists()
    uri = f"file:{quote(str(path))}?mode=ro{'' if has_log else '&immutable=1'}"
    engine = create_engine("sqlite://", poolclass=NullPool, creator=lambda: sqlite3.connect(uri, uri=True))
    with engine.connect() as connection:
        yield connection
