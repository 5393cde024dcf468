"""The settings: their names, types, limits and defaults. Alone reads the environment; imports nothing of `api`."""

import difflib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_log = logging.getLogger(__name__)

_DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg"}


class ConfigurationError(Exception):
    """A setting that cannot be used; the message is one sentence that names it."""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004  # all parsers refuse in one way
    return value


def _secret(value: object) -> str | bytes:
    if not isinstance(value, str | bytes):
        raise ValueError("neither a text nor bytes")  # noqa: TRY004  # as above
    return value


def _boolean(value: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return words[str(value).lower()]
    except KeyError:
        raise ValueError("not true or false") from None


def _texts(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(part for part in (_text(part).strip() for part in parts) if part)


def _log_level(value: object) -> str:
    level = _text(value).lower()
    if level not in {"critical", "error", "warning", "info", "debug"}:
        raise ValueError("not one of critical, error, warning, info, debug")
    return level


def _prepared_statements(value: object) -> str:
    word = _text(value).lower()
    if word not in {"auto", "on", "off"}:
        raise ValueError("not one of auto, on, off")
    return word


def _setting(
    parse: Callable[[Any], Any],
    name: str,
    default: Any,
    description: str,
    *,
    key: str | None = None,
    between: tuple[float, float] | None = None,
    shown_default: str | None = None,
    repr: bool = True,  # noqa: A002  # as `field` calls it
) -> Any:
    """A field of `Settings`: its name in the environment, and in Flask's configuration where that differs (`key`)."""
    metadata = {
        "parse": parse,
        "name": name,
        "key": key or name,
        "description": description,
        "between": between,
        "shown_default": shown_default,
    }
    return field(default=default, metadata=metadata, repr=repr)


def _threads(name: str, default: int | None, description: str, shown_default: str | None = None) -> Any:
    return _setting(int, name, default, description, between=(1, 256), shown_default=shown_default)


def _count(name: str, default: int, description: str) -> Any:
    return _setting(int, name, default, description, between=(1, 2**31 - 1))


def _seconds(name: str, default: float, description: str) -> Any:
    # PostgreSQL counts a timeout in milliseconds, in 31 bits; a day is well below.
    return _setting(float, name, default, description, between=(0.1, 86_400))


@dataclass(frozen=True)
class Settings:
    """Everything that can be set from outside."""

    database_url: str = _setting(
        _text,
        "DATABASE_URL",
        "sqlite:///app.db",
        "Where the data is: `sqlite:///` and a path, from the working directory unless absolute, or `postgresql://…`.",
        key="SQLALCHEMY_DATABASE_URI",
        repr=False,
    )
    secret_key: str | bytes | None = _setting(
        _secret, "SECRET_KEY", None, "Flask's key for signed sessions. The API itself uses none.", repr=False
    )
    read_threads: int = _threads("API_READ_THREADS", 4, "Threads that answer reads, in each process.")
    write_threads: int = _threads(
        "API_WRITE_THREADS", None, "Threads that answer writes, in each process.", "1 on SQLite, 2 on PostgreSQL"
    )
    queue_size: int = _count("API_QUEUE_SIZE", 1000, "Requests that may wait for a thread; those beyond get a 503.")
    max_body_bytes: int = _count("API_MAX_BODY_BYTES", 1_048_576, "The largest request body; a larger one gets a 413.")
    request_timeout_seconds: float = _seconds(
        "API_REQUEST_TIMEOUT_SECONDS", 15.0, "How long a request may take, its body's arrival included."
    )
    lock_timeout_seconds: float = _seconds(
        "API_LOCK_TIMEOUT_SECONDS", 5.0, "How long a statement waits for a lock before the request gets a 503."
    )
    connect_timeout_seconds: float = _seconds(
        "API_CONNECT_TIMEOUT_SECONDS", 3.0, "How long opening a connection to PostgreSQL may take."
    )
    pool_timeout_seconds: float = _seconds(
        "API_POOL_TIMEOUT_SECONDS", 5.0, "How long a request waits for a free connection before it gets a 503."
    )
    statement_timeout_seconds: float = _seconds(
        "API_STATEMENT_TIMEOUT_SECONDS", 10.0, "How long one statement may run on PostgreSQL."
    )
    prepared_statements: str = _setting(
        _prepared_statements,
        "API_PREPARED_STATEMENTS",
        "auto",
        "Whether statements are prepared on PostgreSQL: `on`, `off`, or `auto`, which means off behind a pooler.",
    )
    shutdown_timeout_seconds: float = _seconds(
        "API_SHUTDOWN_TIMEOUT_SECONDS", 10.0, "How long requests in flight may take to finish when the server stops."
    )
    response_validation: bool = _setting(
        _boolean, "API_RESPONSE_VALIDATION", True, "Whether a response that breaks the contract becomes a logged 500."
    )
    cors_origins: tuple[str, ...] = _setting(
        _texts, "API_CORS_ORIGINS", (), "Origins whose pages may call the API, separated by commas; `*` for all."
    )
    trusted_proxies: tuple[str, ...] = _setting(
        _texts, "API_TRUSTED_PROXIES", (), "Addresses whose `X-Forwarded-*` headers are believed, separated by commas."
    )
    log_level: str = _setting(
        _log_level, "API_LOG_LEVEL", "info", "The least that is logged: critical, error, warning, info or debug."
    )
    flask_config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What Flask's own configuration is to hold: every upper-case name given, the database's URL and the secret key."""

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite; else it is PostgreSQL."""
        return make_url(self.database_url).get_backend_name() == "sqlite"

    @property
    def in_memory(self) -> bool:
        """Whether the database lives in one connection, which every thread must then share."""
        url = make_url(self.database_url)
        return self.is_sqlite and (
            url.database in {None, "", ":memory:", "file::memory:"} or url.query.get("mode") == "memory"
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The settings of the environment, an empty value counting as none; raises `ConfigurationError`."""
        _warn_about_unknown(environ)
        values = {
            spec.name: _parsed(spec.metadata["name"], environ[spec.metadata["name"]], spec)
            for spec in settings_fields()
            if environ.get(spec.metadata["name"])
        }
        values["database_url"] = _absolute(values.get("database_url", cls.database_url))
        return cls._complete(values)

    @classmethod
    def from_config(cls, config: object) -> Self:
        """The settings of a mapping, object or class with Flask's upper-case names; raises `ConfigurationError`.

        The environment is not read, and the database's URL is kept as given.
        """
        if isinstance(config, str):
            raise ConfigurationError("A configuration is a mapping, an object or a class, not a name.")
        if not isinstance(config, Mapping):
            config = {name: getattr(config, name) for name in dir(config)}
        given = {name: value for name, value in config.items() if isinstance(name, str) and name.isupper()}
        _warn_about_unknown(given)
        values = {
            spec.name: _parsed(spec.metadata["key"], given[spec.metadata["key"]], spec)
            for spec in settings_fields()
            if given.get(spec.metadata["key"]) is not None
        }
        values.setdefault("database_url", _absolute(cls.database_url))
        return cls._complete(values, given)

    @classmethod
    def _complete(cls, values: dict[str, Any], flask_config: Mapping[str, Any] | None = None) -> Self:
        """Settings with what depends on other settings filled in."""
        flask_config = {
            "SECRET_KEY": values.get("secret_key"),
            **(flask_config or {}),
            "SQLALCHEMY_DATABASE_URI": values["database_url"],
        }
        # SQLite has one writer at a time: a second thread would only wait for its lock.
        write_threads = 1 if _checked_url(values["database_url"]).get_backend_name() == "sqlite" else 2
        return cls(**{"write_threads": write_threads, **values}, flask_config=flask_config)


def settings_fields() -> tuple[Field[Any], ...]:
    """The fields of `Settings` that have a name outside; `metadata` holds `name`, `description` and `shown_default`."""
    return tuple(spec for spec in fields(Settings) if spec.metadata)


def _parsed(name: str, value: Any, spec: Field[Any]) -> Any:
    shown = f"{name}={value!r}" if spec.repr else name  # a secret is not repeated
    try:
        parsed = spec.metadata["parse"](value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{shown}: {str(error).partition(':')[0]}") from None
    least, most = spec.metadata["between"] or (parsed, parsed)
    if not least <= parsed <= most:
        raise ConfigurationError(f"{shown}: not between {least} and {most}")
    return parsed


def _warn_about_unknown(given: Mapping[str, Any]) -> None:
    known = [spec.metadata["name"] for spec in settings_fields()]
    for name in sorted(given):
        if name.startswith("API_") and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            _log.warning("%s is not a setting.%s", name, f" Did you mean {nearest[0]}?" if nearest else "")


def _absolute(database_url: str) -> str:
    """The URL with its driver named, and with an SQLite path that no longer depends on the working directory."""
    # Hosting platforms hand out `postgres://`, which SQLAlchemy no longer knows.
    scheme, separator, rest = database_url.partition("://")
    if scheme in {"postgres", "postgresql"}:
        return f"postgresql+psycopg{separator}{rest}"
    url = _url(database_url)
    backend, path = url.get_backend_name(), url.database
    if backend == "postgresql" or not path or path.startswith((":memory:", "file:")):
        return database_url
    return url.set(database=str(Path(path).absolute())).render_as_string(hide_password=False)


def _checked_url(database_url: str) -> URL:
    """The URL, of a database and a driver that the service knows; no message repeats it, for it may hold a password."""
    url = _url(database_url)
    backend, _, driver = url.drivername.partition("+")
    if backend not in _DRIVERS:
        raise ConfigurationError("DATABASE_URL: neither sqlite nor postgresql")
    if driver not in {"", _DRIVERS[backend]}:
        raise ConfigurationError(f"DATABASE_URL: the only driver for {backend} is {_DRIVERS[backend]}")
    if "@" in (url.host or ""):  # else what stands before it would be looked up, and said, as a host's name
        raise ConfigurationError("DATABASE_URL: an @ in a password is written %40")
    try:
        url.get_dialect()().create_connect_args(url)
    except ValueError:
        raise ConfigurationError("DATABASE_URL: a parameter after the ? has no value of its type") from None
    return url


def _url(database_url: str) -> URL:
    try:
        return make_url(database_url)
    except (ArgumentError, ValueError):
        raise ConfigurationError("The database's URL is not a URL.") from None
