"""The settings: their names, types, limits and defaults.

The only module that reads the environment.
"""

import difflib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Self

from sqlalchemy import make_url

from api import database_url as urls
from api import values
from contractapp import cors, trusted_proxies

_log = logging.getLogger(__name__)


class ConfigurationError(Exception):
    """Settings that cannot be used; `faults` has a sentence for each of them, which names it."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


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


def _count(name: str, default: int, description: str, most: int = 2**31 - 1) -> Any:
    return _setting(int, name, default, description, between=(1, most))


def _seconds(name: str, default: float, description: str) -> Any:
    # PostgreSQL stores a timeout as milliseconds in 31 bits, about 24 days; the limit here is one day.
    return _setting(float, name, default, description, between=(0.1, 86_400))


@dataclass(frozen=True)
class Settings:
    """All settings of the service."""

    database_url: str = _setting(
        values.text,
        "DATABASE_URL",
        "sqlite:///app.db",
        "The database: `sqlite:///` and a path, absolute or relative to the working directory, or `postgresql://…`.",
        key="SQLALCHEMY_DATABASE_URI",
        repr=False,
    )
    secret_key: str | bytes | None = _setting(
        values.secret,
        "SECRET_KEY",
        None,
        "Flask's key for signing session cookies. The API itself does not use sessions.",
        repr=False,
    )
    read_threads: int = _threads(
        "API_READ_THREADS", 4, "Threads that run reads, in each process; on PostgreSQL also the connections for reads."
    )
    write_threads: int = _threads(
        "API_WRITE_THREADS",
        None,
        "Threads that run writes, in each process; on PostgreSQL also the connections for writes.",
        "1 on SQLite, 2 on PostgreSQL",
    )
    queue_size: int = _count(
        "API_QUEUE_SIZE", 1000, "Requests that may wait for a thread or connection; further requests get a 503."
    )
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
        "API_POOL_TIMEOUT_SECONDS", 5.0, "How long a thread waits for a free connection before its request gets a 503."
    )
    statement_timeout_seconds: float = _seconds(
        "API_STATEMENT_TIMEOUT_SECONDS", 10.0, "How long one statement may run on PostgreSQL."
    )
    prepared_statements: str = _setting(
        values.prepared_statements,
        "API_PREPARED_STATEMENTS",
        "auto",
        "Whether statements are prepared on PostgreSQL: `on`, `off`, or `auto`, which is `off` behind a pooler "
        "and else `on`.",
    )
    shutdown_timeout_seconds: float = _seconds(
        "API_SHUTDOWN_TIMEOUT_SECONDS", 10.0, "How long running requests may take to finish when the server stops."
    )
    idempotency_hours: int = _count(
        "API_IDEMPOTENCY_HOURS", 24, "How long the answer to a request with an `Idempotency-Key` is kept.", 8760
    )
    response_validation: bool = _setting(
        values.boolean,
        "API_RESPONSE_VALIDATION",
        True,
        "Whether a response that does not match the contract is logged and replaced by a 500.",
    )
    require_if_match: bool = _setting(
        values.boolean,
        "API_REQUIRE_IF_MATCH",
        False,
        "Whether a PUT or DELETE without `If-Match` gets a 428; the published contract then says so.",
    )
    cors_origins: tuple[str, ...] = _setting(
        values.texts, "API_CORS_ORIGINS", (), "Origins whose pages may call the API, separated by commas; `*` for all."
    )
    trusted_proxies: tuple[str, ...] = _setting(
        values.texts,
        "API_TRUSTED_PROXIES",
        (),
        "Proxies whose `X-Forwarded-*` headers are used: addresses or networks, separated by commas.",
    )
    log_level: str = _setting(
        values.log_level,
        "API_LOG_LEVEL",
        "info",
        "The lowest level that is logged: critical, error, warning, info or debug.",
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
        values, faults = _values({name: value for name, value in environ.items() if value}, "name")
        values["database_url"] = urls.absolute(values.get("database_url", cls.database_url))
        return cls._complete(values, faults)

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
        values, faults = _values(given, "key")
        values.setdefault("database_url", urls.absolute(cls.database_url))
        return cls._complete(values, faults, given)

    @classmethod
    def _complete(
        cls, values: dict[str, Any], faults: list[str], flask_config: Mapping[str, Any] | None = None
    ) -> Self:
        """The settings, with the values that depend on other settings filled in; raises an error with all faults."""
        faults.extend(_faults(values))
        if faults:
            raise ConfigurationError(*faults)
        flask_config = {
            "SECRET_KEY": values.get("secret_key"),
            **(flask_config or {}),
            "SQLALCHEMY_DATABASE_URI": values["database_url"],
        }
        # SQLite allows one writer at a time: a second thread would only wait for the write lock.
        write_threads = 1 if make_url(values["database_url"]).get_backend_name() == "sqlite" else 2
        return cls(**{"write_threads": write_threads, **values}, flask_config=flask_config)


def settings_fields() -> tuple[Field[Any], ...]:
    """The fields of `Settings` that can be set; `metadata` has `name`, `description` and `shown_default`."""
    return tuple(spec for spec in fields(Settings) if spec.metadata)


def _values(given: Mapping[str, Any], named: str) -> tuple[dict[str, Any], list[str]]:
    """The values of the fields, and a sentence for each that cannot be used; `named` is the kind of the names."""
    values, faults = {}, []
    for spec in settings_fields():
        name = spec.metadata[named]
        if given.get(name) is not None:
            try:
                values[spec.name] = _parsed(given[name], spec)
            except ValueError as error:
                shown = f"{name}={given[name]!r}" if spec.repr else name  # a message never contains a secret
                faults.append(f"{shown}: {error}")
    return values, faults


def _parsed(value: Any, spec: Field[Any]) -> Any:
    parse = spec.metadata["parse"]
    try:
        parsed = parse(value)
    except (TypeError, ValueError) as error:
        raise ValueError(_NOT_A.get(parse) or str(error)) from None
    if parse is int and isinstance(value, float) and value != parsed:
        raise ValueError(_NOT_A[int])
    least, most = spec.metadata["between"] or (parsed, parsed)
    if not least <= parsed <= most:
        raise ValueError(f"not between {least} and {most}")
    return parsed


def _faults(values: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each value that has the right type and cannot be used."""
    checks: tuple[tuple[str, str, Callable[[Any], object]], ...] = (
        ("DATABASE_URL", "database_url", urls.checked),
        ("API_CORS_ORIGINS", "cors_origins", cors),
        ("API_TRUSTED_PROXIES", "trusted_proxies", trusted_proxies),
    )
    for name, key, check in checks:
        try:
            check(values.get(key, ()))
        except ValueError as error:
            yield f"{name}: {error}"


# Python's own words would be `invalid literal for int() with base 10`.
_NOT_A = {int: "not a whole number", float: "not a number"}


def _warn_about_unknown(given: Mapping[str, Any]) -> None:
    known = [spec.metadata["name"] for spec in settings_fields()]
    for name in sorted(given):
        if name.startswith("API_") and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            _log.warning("%s is not a setting.%s", name, f" Did you mean {nearest[0]}?" if nearest else "")
