"""The settings: their names, types, limits and defaults.

The only module that reads the environment. It imports no other module of `api`.
"""

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
        raise ValueError("not a text")  # noqa: TRY004  # every parser raises ValueError
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
    repr: bool = True,  # noqa: A002  # the name that `field` uses
) -> Any:
    """A field of `Settings`. `name` is its name in the environment, `key` in Flask's configuration where it differs."""
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
    # PostgreSQL stores a timeout as milliseconds in 31 bits, about 24 days; the limit here is one day.
    return _setting(float, name, default, description, between=(0.1, 86_400))


@dataclass(frozen=True)
class Settings:
    """All settings of the service."""

    database_url: str = _setting(
        _text,
        "DATABASE_URL",
        "sqlite:///app.db",
        "The database: `sqlite:///` and a path, absolute or relative to the working directory, or `postgresql://…`.",
        key="SQLALCHEMY_DATABASE_URI",
        repr=False,
    )
    secret_key: str | bytes | None = _setting(
        _secret,
        "SECRET_KEY",
        None,
        "Flask's key for signing session cookies. The API itself does not use sessions.",
        repr=False,
    )
    read_threads: int = _threads("API_READ_THREADS", 4, "Threads that answer reads, in each process.")
    write_threads: int = _threads(
        "API_WRITE_THREADS", None, "Threads that answer writes, in each process.", "1 on SQLite, 2 on PostgreSQL"
    )
    queue_size: int = _count("API_QUEUE_SIZE", 1000, "Requests that may wait for a thread; further requests get a 503.")
    max_body_bytes: int = _count("API_MAX_BODY_BYTES", 1_048_576, "The largest request body; a larger one gets a 413.")
    request_timeout_seconds: float = _seconds(
        "API_REQUEST_TIMEOUT_SECONDS",
        15.0,
        "How long a request may take, including the time in which its body arrives.",
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
        "Whether statements are prepared on PostgreSQL: `on`, `off`, or `auto`, which is `off` behind a pooler "
        "and else `on`.",
    )
    shutdown_timeout_seconds: float = _seconds(
        "API_SHUTDOWN_TIMEOUT_SECONDS", 10.0, "How long running requests may take to finish when the server stops."
    )
    response_validation: bool = _setting(
        _boolean,
        "API_RESPONSE_VALIDATION",
        True,
        "Whether a response that does not match the contract is logged and replaced by a 500.",
    )
    cors_origins: tuple[str, ...] = _setting(
        _texts, "API_CORS_ORIGINS", (), "Origins whose pages may call the API, separated by commas; `*` for all."
    )
    trusted_proxies: tuple[str, ...] = _setting(
        _texts,
        "API_TRUSTED_PROXIES",
        (),
        "Proxies whose `X-Forwarded-*` headers are used: addresses or networks, separated by commas.",
    )
    log_level: str = _setting(
        _log_level, "API_LOG_LEVEL", "info", "The lowest level that is logged: critical, error, warning, info or debug."
    )
    flask_config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The values for Flask's configuration: every upper-case name given, the database's URL and the secret key."""

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite; otherwise it is PostgreSQL."""
        return make_url(self.database_url).get_backend_name() == "sqlite"

    @property
    def in_memory(self) -> bool:
        """Whether the database is SQLite in memory: one connection holds it, and all threads share that connection."""
        url = make_url(self.database_url)
        return self.is_sqlite and (
            url.database in {None, "", ":memory:", "file::memory:"} or url.query.get("mode") == "memory"
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The settings of the environment; an empty value counts as not set. Raises `ConfigurationError`."""
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

        Does not read the environment, and keeps the database's URL unchanged.
        """
        if isinstance(config, str):
            raise ConfigurationError("A configuration must be a mapping, an object or a class, not a string.")
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
        """The settings, with the values that depend on other settings filled in."""
        flask_config = {
            "SECRET_KEY": values.get("secret_key"),
            **(flask_config or {}),
            "SQLALCHEMY_DATABASE_URI": values["database_url"],
        }
        # SQLite allows one writer at a time: a second thread would only wait for the write lock.
        write_threads = 1 if _checked_url(values["database_url"]).get_backend_name() == "sqlite" else 2
        return cls(**{"write_threads": write_threads, **values}, flask_config=flask_config)


def settings_fields() -> tuple[Field[Any], ...]:
    """The fields of `Settings` that can be set; `metadata` has `name`, `description` and `shown_default`."""
    return tuple(spec for spec in fields(Settings) if spec.metadata)


def _parsed(name: str, value: Any, spec: Field[Any]) -> Any:
    shown = f"{name}={value!r}" if spec.repr else name  # a message never contains a secret
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
    """The URL with the name of its driver, and for SQLite with an absolute path."""
    # Some hosting platforms provide `postgres://`, which SQLAlchemy no longer accepts.
    scheme, separator, rest = database_url.partition("://")
    if scheme in {"postgres", "postgresql"}:
        return f"postgresql+psycopg{separator}{rest}"
    url = _url(database_url)
    backend, path = url.get_backend_name(), url.database
    if backend == "postgresql" or not path or path.startswith((":memory:", "file:")):
        return database_url
    return url.set(database=str(Path(path).absolute())).render_as_string(hide_password=False)


def _checked_url(database_url: str) -> URL:
    """The URL, if the service supports its database and driver. No message contains the URL: it may hold a password."""
    url = _url(database_url)
    backend, _, driver = url.drivername.partition("+")
    if backend not in _DRIVERS:
        raise ConfigurationError("DATABASE_URL: neither sqlite nor postgresql")
    if driver not in {"", _DRIVERS[backend]}:
        raise ConfigurationError(f"DATABASE_URL: the only driver for {backend} is {_DRIVERS[backend]}")
    if "@" in (url.host or ""):  # a part of the password would be taken for the host and shown in an error
        raise ConfigurationError("DATABASE_URL: write an @ in a password as %40")
    try:
        url.get_dialect()().create_connect_args(url)
    except ValueError:
        raise ConfigurationError("DATABASE_URL: the value of a parameter after the ? has the wrong type") from None
    return url


def _url(database_url: str) -> URL:
    try:
        return make_url(database_url)
    except (ArgumentError, ValueError):
        raise ConfigurationError("DATABASE_URL: not a URL of a database") from None
