"""Sets up connections to SQLite, and checks that they still refer to the database file.

After the file was deleted or replaced, an open connection continues to use the old file, and rows stored there would be
lost. Checking the file before each use costs 2 µs.
"""

import os
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from api.database import wal

_Identity = tuple[int, int]  # of a file: device and inode


def set_pragmas(connection: sqlite3.Connection, _entry: object) -> None:
    """Set WAL, in which a writer does not block reads, and FULL, with which a committed row survives a power cut."""
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").close()


class DatabaseFile:
    """The database file of an application's connections."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: _Identity | None = None

    def watch(self, engine: Engine) -> None:
        """Let an engine use only connections to the current file, with its own log; never create a deleted file."""
        event.listen(engine, "do_connect", self._before_connect)
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "checkout", self._before_checkout)

    def is_current(self, connection: PoolProxiedConnection) -> bool:
        """Whether the connection refers to the file that is at the path now."""
        return bool(connection.info["file"] == self._identity())

    def _before_connect(self, *_: object) -> None:
        found = self._identity()
        if self._known and found is None:  # SQLite would create an empty database
            raise sqlite3.OperationalError("the database file is gone")
        if found is None or found != self._known:
            require_own_log(self._path)

    def _connected(self, _connection: object, entry: ConnectionPoolEntry) -> None:
        self._known = entry.info["file"] = self._identity()

    def _before_checkout(self, _connection: object, _entry: object, proxy: PoolProxiedConnection) -> None:
        if not self.is_current(proxy):
            raise DisconnectionError("the database file was replaced")

    def _identity(self) -> _Identity | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116  # half the cost of Path.stat
        except OSError:
            return None
        return status.st_dev, status.st_ino


def path_of(url: URL) -> Path | None:
    """The file that SQLAlchemy opens for this URL; None for a database in memory."""
    name = url.database or ""
    if name.startswith("file:") and "uri" in url.query:
        name = unquote(urlsplit(name).path) if url.query.get("mode") != "memory" else ""
    return Path(name) if name and name != ":memory:" else None


def require_own_log(path: str) -> None:
    """Raise an error if the log beside a database belongs to another database."""
    try:
        own = wal.belongs(path)
    except OSError as error:
        raise sqlite3.OperationalError(f"{error.filename or path}: {error.strerror}") from error
    if not own:
        raise sqlite3.OperationalError(
            f"{path}-wal does not belong to {path}: put back the database that it belongs to, or delete {path}-wal"
        )
