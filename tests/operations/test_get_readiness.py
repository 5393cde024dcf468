"""GET /health/ready."""

import pytest
from sqlalchemy import text

from api import db, migrations
from tests.applications import application

UNREACHABLE = ["sqlite:////no/such/folder/api.db", "postgresql+psycopg://nobody@127.0.0.1:1/nothing"]


@pytest.fixture
def migrated(tmp_path):
    """An application with a separate database, whose schema is at head."""
    with application(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/api.db") as app:
        with app.app.app_context():
            migrations.upgrade(db.engine)
        yield app


def run(app, statement):
    with app.app.app_context(), db.engine.begin() as connection:
        connection.execute(text(statement))


def test_200_when_the_schema_is_at_head(client):
    response = client.get("/api/health/ready")

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"status": "ok"}


@pytest.mark.parametrize("url", UNREACHABLE)
def test_503_when_the_database_does_not_answer(problem, url):
    with application(SQLALCHEMY_DATABASE_URI=url) as app:
        response = app.test_client().get("/api/health/ready")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json() == problem(503, "The service is not available just now. Try again shortly.")


def test_503_when_there_is_no_schema(problem):
    with application(SQLALCHEMY_DATABASE_URI="sqlite:///:memory:") as app:
        response = app.test_client().get("/api/health/ready")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json() == problem(503, "The database schema is not at head.")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alembic_version SET version_num = '0000'",
        "DELETE FROM alembic_version",
        "INSERT INTO alembic_version VALUES ('0000')",
    ],
)
def test_503_when_the_schema_is_of_another_release(migrated, problem, statement):
    run(migrated, statement)

    response = migrated.test_client().get("/api/health/ready")

    assert response.status_code == 503
    assert response.json() == problem(503, "The database schema is not at head.")


def test_200_again_once_the_schema_is_back(migrated):
    client = migrated.test_client()
    run(migrated, "ALTER TABLE alembic_version RENAME TO away")
    before = client.get("/api/health/ready")
    run(migrated, "ALTER TABLE away RENAME TO alembic_version")

    response = client.get("/api/health/ready")

    assert (before.status_code, response.status_code) == (503, 200)
