"""Reads and checks the URL of the database. No error repeats a value of the URL: it may hold a password."""

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg"}
_SQLITE_OPTIONS = {"uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"}
# https://sqlite.org/uri.html
_SQLITE_FILE_OPTIONS = {"mode", "cache", "vfs", "immutable", "nolock", "psow"}
_MODES = ("ro", "rw", "rwc", "memory")


def absolute(database_url: str) -> str:
    """The URL with the name of its driver, and for SQLite with an absolute path; any other text as it is."""
    # Some hosting platforms provide `postgres://`, which SQLAlchemy no longer accepts.
    scheme, separator, rest = database_url.partition("://")
    if scheme in {"postgres", "postgresql"}:
        return f"postgresql+psycopg{separator}{rest}"
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        return database_url
    backend, path = url.get_backend_name(), url.database
    if backend == "postgresql" or not path or path.startswith((":memory:", "file:")):
        return database_url
    return url.set(database=str(Path(path).absolute())).render_as_string(hide_password=False)


def checked(database_url: str) -> URL:
    """The URL, if the service can use it; else raises `ValueError`, whose message says why."""
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        raise ValueError("not a URL of a database") from None
    backend, _, driver = url.drivername.partition("+")
    if backend not in _DRIVERS:
        raise ValueError("neither sqlite nor postgresql")
    if driver not in {"", _DRIVERS[backend]}:
        raise ValueError(f"the only driver for {backend} is {_DRIVERS[backend]}")
    if "@" in (url.host or ""):  # a part of the password would be taken for the host and shown in an error
        raise ValueError("write an @ in a password as %40")
    if backend == "sqlite":
        _require_sqlite_options(url)
    else:
        _require_postgresql_options(url)
    return url


def _require_sqlite_options(url: URL) -> None:
    if url.username or url.password or url.host or url.port:
        raise ValueError("sqlite:/// is followed by a path, and has no host or user")
    is_file_uri = (url.database or "").startswith("file:")
    if is_file_uri != ("uri" in url.query):
        raise ValueError("a path that begins with file: and uri=true need each other")
    for name in url.query.keys() - _SQLITE_OPTIONS:
        if name not in _SQLITE_FILE_OPTIONS:
            raise ValueError(f"SQLite has no parameter {name}")
        if not is_file_uri:
            raise ValueError(f"{name} needs a path that begins with file:, and uri=true")
    if url.query.get("mode", "rwc") not in _MODES:
        raise ValueError(f"mode is not one of {', '.join(_MODES)}")
    try:
        url.get_dialect()().create_connect_args(url)
    except ValueError:
        raise ValueError("the value of a parameter after the ? has the wrong type") from None


def _require_postgresql_options(url: URL) -> None:
    try:
        driver = url.get_dialect().import_dbapi()
    except ImportError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"the driver psycopg cannot be imported: {reason}") from None
    try:
        _, options = url.get_dialect()().create_connect_args(url)
        driver.conninfo.make_conninfo(**options)
    except (ValueError, ArgumentError):
        raise ValueError("the value of a parameter after the ? has the wrong type") from None
    except driver.ProgrammingError as error:
        raise ValueError(str(error).strip()) from None
