"""The command `api`. A command that cannot run prints a sentence for each fault and exits with status 1.

Modules that take long to import are imported inside the commands that need them, so that `--help` is quick.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine


class _Workers(click.IntRange):
    """A number of processes, or `auto`."""

    name = "number or auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "auto" else super().convert(value, param, ctx)


@click.group()
def main() -> None:
    """Users and posts, served from their OpenAPI contract."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option(
    "--workers", default=1, show_default=True, type=_Workers(min=1), help="Processes to start; auto: one for each core."
)
def serve(host: str, port: int, workers: int | Literal["auto"]) -> None:
    """Bring the schema up to date, then serve."""
    base = f"http://[{host}]" if ":" in host else f"http://{host}"
    # Said before the imports, which take seconds on a busy machine.
    processes = "a worker for each core" if workers == "auto" else f"{workers} worker{'s' * (workers > 1)}"
    click.echo(f"Starting on {base}:{port or '(a free port)'} ({processes})")
    with _fatal():
        from api.config import ConfigurationError, Settings
        from contractapp import server

        settings = Settings.from_env()
        if workers == "auto":
            workers = 1 if settings.in_memory else server.available_cores()
        if settings.in_memory and workers > 1:
            raise ConfigurationError("A database in memory belongs to one process: use --workers 1.")
        click.echo(f"Database: {_shown(settings.database_url)}")
        from api import create_app, database, migrations
        from api.app import problem_body

        application = create_app()
        try:
            with application.app.app_context():
                migrations.upgrade(database.db.engine)
        finally:
            if not settings.in_memory:
                database.dispose(application.app)
    try:
        listener = server.listen(host, port)
    except OSError as error:
        _stop([str(error)])
    address = f"{base}:{listener.getsockname()[1]}"
    server.serve(
        application if workers == 1 or server.can_fork() else "api:create_app",
        listener,
        workers=workers,
        log_level=settings.log_level,
        request_timeout_seconds=settings.request_timeout_seconds,
        shutdown_timeout_seconds=settings.shutdown_timeout_seconds,
        problem_body=problem_body,
        on_started=lambda: click.echo(f"Serving on {address}, Swagger UI: {address}/api/ui/"),
    )


@main.command()
def upgrade() -> None:
    """Bring the database's schema up to date."""
    with _fatal(), _engine() as engine:
        from api import migrations

        migrations.upgrade(engine)


@main.command()
@click.option("--users", default=100, show_default=True, type=click.IntRange(min=0), help="Users to add.")
@click.option("--posts", default=1000, show_default=True, type=click.IntRange(min=0), help="Posts to add.")
def seed(users: int, posts: int) -> None:
    """Add users and posts with invented data; existing rows are kept."""
    with _fatal(), _engine() as engine, click.progressbar(length=users + posts, label="Seeding") as progress:
        from api.seed import NoAuthors, add_posts, add_users

        add_users(engine, users, progress.update)
        try:
            add_posts(engine, posts, progress.update)
        except NoAuthors as error:
            raise click.ClickException(str(error)) from None


@main.command()
def check() -> None:
    """List the faults of contract, handlers, database and schema that would keep `api serve` from starting."""
    faults: list[str] = []
    with _collected(faults):
        from api import create_app

        create_app()
    with _collected(faults), _engine() as engine:
        from api.check import pending_revisions

        pending = pending_revisions(engine)
    if faults:
        _stop(list(dict.fromkeys(faults)))
    click.echo("Contract, handlers, database and schema are fit to serve.")
    if pending:
        click.echo(f"`api serve` will bring the schema up to date first: {', '.join(pending)}.")


@contextmanager
def _engine() -> Iterator[Engine]:
    """The engine of the database in the environment's settings, inside an application context."""
    from flask import Flask

    from api import database
    from api.config import Settings

    settings = Settings.from_env()
    flask_app = Flask("api")
    flask_app.config.update(settings.flask_config)
    database.init_app(flask_app, settings)
    with flask_app.app_context():
        try:
            yield database.db.engine
        finally:
            database.dispose(flask_app)


@contextmanager
def _fatal() -> Iterator[None]:
    """Print the faults that stop the block, and exit with status 1."""
    faults: list[str] = []
    with _collected(faults):
        yield
    if faults:
        _stop(faults)


@contextmanager
def _collected(faults: list[str]) -> Iterator[None]:
    """Add a sentence to `faults` for each fault that stopped the block."""
    import sqlite3

    from sqlalchemy.exc import SQLAlchemyError

    from api.check import Unfit
    from api.config import ConfigurationError
    from api.migrations import MigrationError
    from contractapp import ContractError

    try:
        yield
    except (ContractError, ConfigurationError) as error:
        faults.extend(error.faults)
    except Unfit as error:
        faults.append(str(error))
    except OSError as error:
        faults.append(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (SQLAlchemyError, MigrationError, sqlite3.Error) as error:
        faults.append(_database_sentence(error))


def _shown(database_url: str) -> str:
    """The database's URL without user, password and parameters."""
    from sqlalchemy import URL, make_url

    url = make_url(database_url)
    shown = URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database)
    return shown.render_as_string()


def _database_sentence(error: BaseException) -> str:
    """The driver's message, without the SQL statement; SQLite's does not name the file, so it is added."""
    import sqlite3

    from sqlalchemy import make_url

    from api.config import Settings
    from api.database.sqlite import path_of

    driver_error = getattr(error, "orig", None) or error
    cause = str(driver_error).strip().partition("\n")[0]
    path = path_of(make_url(Settings.from_env().database_url)) if isinstance(driver_error, sqlite3.Error) else None
    where = f"{path}: " if path is not None and str(path) not in cause else ""
    return f"The database cannot be used: {where}{cause}"


def _stop(faults: list[str]) -> NoReturn:
    for fault in faults:
        click.echo(fault, err=True)
    raise SystemExit(1)
