"""What a connection to SQLite needs: its pragmas, and the file that it was opened for.

SQLite keeps to a file that was deleted or replaced, and would go on to store rows where nobody finds them. Asking for
the name before each use costs 2 µs.
"""

import os
import sqlite3

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection


def set_pragmas(connection: sqlite3.Connection, _entry: object) -> None:
    """WAL lets reads go on beside a writer; FULL keeps a committed row through a power cut."""
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").close()


class DatabaseFile:
    """The file that an application's connections are to."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known = False

    def watch(self, engine: Engine) -> None:
        """Hold the connections of an engine's pool to the file; none is opened, so made, once it is gone."""
        event.listen(engine, "do_connect", self._before_connect)
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "checkout", self._before_checkout)

    def is_current(self, connection: PoolProxiedConnection) -> bool:
        """Whether the connection is to the file of that name still."""
        return bool(connection.info["file"] == self._identity())

    def _before_connect(self, *_: object) -> None:
        if self._known and self._identity() is None:  # SQLite would begin an empty one
            raise sqlite3.OperationalError("the database file is gone")

    def _connected(self, _connection: object, entry: ConnectionPoolEntry) -> None:
        entry.info["file"] = self._identity()
        self._known = True

    def _before_checkout(self, _connection: object, _entry: object, proxy: PoolProxiedConnection) -> None:
        if not self.is_current(proxy):
            raise DisconnectionError("the database file is another one")

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116  # half the cost of Path.stat
        except OSError:
            return None
        return status.st_dev, status.st_ino
