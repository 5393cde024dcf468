"""`db`, and the options of its two engines: pools, transactions and timeouts, from the settings."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import StaticPool

from api.config import Settings


class Base(DeclarativeBase):
    """The base of all models. Every constraint gets a name: migrations need it, and `write` recognises it in errors."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)


# Errors and SQLAlchemy's echo do not show the values of parameters.
_HIDDEN = {"hide_parameters": True}


def writer_options(settings: Settings) -> dict[str, Any]:
    """The options of `create_engine` for the engine of transactions and `db.session`."""
    if settings.in_memory:
        connect_args = {**_connect_args(settings), "check_same_thread": False}
        return {**_HIDDEN, "poolclass": StaticPool, "connect_args": connect_args}
    return {
        **_HIDDEN,
        # Sessions of tests and scripts use the overflow of the pool.
        "pool_size": settings.write_threads,
        "pool_timeout": settings.pool_timeout_seconds,
        "connect_args": _connect_args(settings),
    }


def reader_options(settings: Settings) -> dict[str, Any]:
    """The options of `create_engine` for the engine of single statements that change nothing."""
    return {
        **_HIDDEN,
        "pool_size": settings.read_threads,
        "max_overflow": 0,
        "pool_timeout": settings.pool_timeout_seconds,
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "connect_args": _connect_args(settings),
    }


def _connect_args(settings: Settings) -> dict[str, Any]:
    if settings.is_sqlite:
        # The driver begins a transaction before the first INSERT, UPDATE or DELETE, but not before a SELECT. BEGIN
        # IMMEDIATE takes the write lock at once and waits for it up to the timeout. A transaction that began with a
        # read and then needs the write lock can fail without waiting.
        return {"timeout": settings.lock_timeout_seconds, "isolation_level": "IMMEDIATE"}
    # The module `postgresql` sets the other timeouts after connecting: not every pooler accepts them at connection.
    return {
        "connect_timeout": ceil(settings.connect_timeout_seconds),
        # A server that disappears without closing the connection is detected as early as one that is too slow.
        "tcp_user_timeout": ceil(settings.statement_timeout_seconds * 1000),
        "keepalives_idle": ceil(settings.statement_timeout_seconds),
        "keepalives_interval": 1,
        "keepalives_count": 3,
    }


def merged(options: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The engine options, overridden by those in the application's configuration."""
    if "poolclass" in given:
        options = {name: value for name, value in options.items() if not name.startswith(("pool", "max_overflow"))}
    connect_args = {**options["connect_args"], **given.get("connect_args", {})}
    return {**options, **given, "connect_args": connect_args}
