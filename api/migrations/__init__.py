"""The schema's history: numbered revisions, run by Alembic without a configuration file."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, inspect

from api.models import User

# Any number that other users of the same PostgreSQL server do not lock.
_LOCK = 0x75736572706F7374


def upgrade(engine: Engine) -> None:
    """Bring the schema to head, in one transaction; whoever comes second waits, and finds nothing left to do."""
    with engine.connect() as connection, _ALONE[connection.dialect.name](connection):
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def pending(connection: Connection | None) -> list[str]:
    """The revisions that `upgrade` would run, first to last, on this database or, for None, on an empty one.

    Raises `CommandError` for a revision that the code does not know, and for tables that no revision made.
    """
    script = ScriptDirectory.from_config(_config())
    heads: tuple[str, ...] = ()
    if connection is not None:
        heads = MigrationContext.configure(connection).get_current_heads()
        for known in heads:
            script.get_revision(known)  # raises for one that is unknown
        found = set(inspect(connection).get_table_names()) & set(User.metadata.tables)
        if found and not heads:
            raise CommandError(f"no migration made its table {min(found)}")
    return [step.revision for step in script.iterate_revisions("head", heads or "base")][::-1]


@cache
def head() -> str | None:
    """The revision that the code expects of the database."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "api:migrations")
    return config


@contextmanager
def _alone_on_postgresql(connection: Connection) -> Iterator[None]:
    # The timeouts are for requests; a migration may take, and wait, as long as it must.
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    yield


@contextmanager
def _alone_on_sqlite(connection: Connection) -> Iterator[None]:
    # SQLite changes a table by copying it and dropping the old one, which would delete the rows that refer to it.
    # Only outside a transaction can this be switched.
    connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver itself opens none before CREATE
        yield
    finally:
        connection.rollback()
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")


_ALONE = {"postgresql": _alone_on_postgresql, "sqlite": _alone_on_sqlite}
