"""The numbered revisions, which Alembic runs without a configuration file. Only this module imports Alembic to run."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, inspect

from api.migrations import MigrationError
from api.models import User

# The advisory lock on PostgreSQL. The number must differ from those that other programs lock in the same database.
_LOCK = 0x75736572706F7374


def upgrade(engine: Engine) -> None:
    """Bring the schema to head in one transaction. A second process waits until the first has finished."""
    with _refused(), engine.connect() as connection, _ALONE[connection.dialect.name](connection):
        config = _config()
        _known_heads(ScriptDirectory.from_config(config), connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def pending(connection: Connection | None) -> list[str]:
    """The revisions that `upgrade` would run on this database, in order; None stands for an empty database."""
    script = ScriptDirectory.from_config(_config())
    heads: tuple[str, ...] = ()
    with _refused():
        if connection is not None:
            heads = _known_heads(script, connection)
            found = set(inspect(connection).get_table_names()) & set(User.metadata.tables)
            if found and not heads:
                raise MigrationError(f"its table {min(found)} was not made by a migration")
        return [step.revision for step in script.iterate_revisions("head", heads or "base")][::-1]


def _known_heads(script: ScriptDirectory, connection: Connection) -> tuple[str, ...]:
    heads = MigrationContext.configure(connection).get_current_heads()
    for found in heads:
        try:
            script.get_revision(found)
        except CommandError:
            raise MigrationError(f"it was made by a newer version of the service (revision {found})") from None
    return heads


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "api:migrations")
    return config


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise MigrationError(str(error)) from error


@contextmanager
def _alone_on_postgresql(connection: Connection) -> Iterator[None]:
    # The timeouts are meant for requests; a migration may run and wait for locks without a limit.
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    yield


@contextmanager
def _alone_on_sqlite(connection: Connection) -> Iterator[None]:
    # Alembic changes a table on SQLite by copying it and dropping the old one. With foreign keys on, the drop would
    # delete the rows that refer to the table. SQLite ignores this pragma inside a transaction.
    connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver does not begin a transaction before a CREATE
        yield
    finally:
        connection.rollback()
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")


_ALONE = {"postgresql": _alone_on_postgresql, "sqlite": _alone_on_sqlite}
