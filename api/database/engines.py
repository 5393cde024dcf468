"""`db`, and how its two engines connect: pools, transactions and timeouts, by the settings."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import StaticPool

from api.config import Settings


class Base(DeclarativeBase):
    """Every constraint has a name, so that migrations can change it and `write` can recognise it."""

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


# Errors and SQLAlchemy's echo show statements without their parameters' values.
_HIDDEN = {"hide_parameters": True}


def writer_options(settings: Settings) -> dict[str, Any]:
    """What `create_engine` takes for transactions and `db.session`."""
    if settings.in_memory:
        connect_args = {**_connect_args(settings), "check_same_thread": False}
        return {**_HIDDEN, "poolclass": StaticPool, "connect_args": connect_args}
    return {
        **_HIDDEN,
        # Sessions of tests and scripts come out of the pool's overflow.
        "pool_size": settings.write_threads,
        "pool_timeout": settings.pool_timeout_seconds,
        "connect_args": _connect_args(settings),
    }


def reader_options(settings: Settings) -> dict[str, Any]:
    """What `create_engine` takes for single statements that change nothing."""
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
        # The driver opens a transaction before the first INSERT, UPDATE or DELETE, and none for a SELECT. IMMEDIATE
        # takes the write lock there and then, so that waiting for it goes by the timeout; a lock upgraded from a
        # read fails at once.
        return {"timeout": settings.lock_timeout_seconds, "isolation_level": "IMMEDIATE"}
    # `postgresql` sets the other timeouts once connected: not every pooler takes them as parameters of the start.
    return {
        "connect_timeout": ceil(settings.connect_timeout_seconds),
        # A server that vanishes without a word is noticed no later than one that is too slow.
        "tcp_user_timeout": ceil(settings.statement_timeout_seconds * 1000),
        "keepalives_idle": ceil(settings.statement_timeout_seconds),
        "keepalives_interval": 1,
        "keepalives_count": 3,
    }


def merged(options: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Our engine options under those that the application's own configuration gives."""
    if "poolclass" in given:
        options = {name: value for name, value in options.items() if not name.startswith(("pool", "max_overflow"))}
    connect_args = {**options["connect_args"], **given.get("connect_args", {})}
    return {**options, **given, "connect_args": connect_args}
