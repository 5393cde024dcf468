"""The schema that the migrations make is the one that the models describe."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from api import check, database, migrations
from api.config import Settings
from api.migrations import revisions


@pytest.fixture
def engine(database_url, tmp_path) -> Engine:
    """A database without tables, of the same kind as the run's database."""
    if database_url.startswith("sqlite"):
        url = f"sqlite:///{tmp_path}/empty.db"
    else:
        server = create_engine(database_url, isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(text("DROP DATABASE IF EXISTS empty"))
            connection.execute(text("CREATE DATABASE empty"))
        server.dispose()
        url = server.url.set(database="empty").render_as_string(hide_password=False)
    flask_app = Flask(__name__)
    database.init_app(flask_app, Settings.from_config({"SQLALCHEMY_DATABASE_URI": url}))
    with flask_app.app_context():
        yield database.db.engine
    database.dispose(flask_app)


def test_autogenerate_finds_no_difference(engine):
    migrations.upgrade(engine)

    with engine.connect() as connection:
        # SQLite has no identity columns, which Alembic reports as a missing default.
        options = {"compare_type": True, "compare_server_default": engine.name == "postgresql"}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, database.db.metadata) == []


def test_constraints_have_the_names_of_the_models(engine):
    migrations.upgrade(engine)

    found = inspect(engine)
    assert {constraint["name"] for constraint in found.get_unique_constraints("users")} == {
        "uq_users_username",
        "uq_users_email",
    }
    assert found.get_foreign_keys("posts")[0]["name"] == "fk_posts_user_id_users"
    assert [index["name"] for index in found.get_indexes("posts")] == ["ix_posts_user_id_id"]


def test_a_second_upgrade_finds_nothing_to_do(engine):
    migrations.upgrade(engine)
    migrations.upgrade(engine)

    with engine.connect() as connection:
        assert connection.scalars(text("SELECT version_num FROM alembic_version")).all() == [migrations.head()]


def test_processes_that_start_together_do_not_collide(engine):
    url = engine.url.render_as_string(hide_password=False)
    command_line = [sys.executable, "-W", "ignore", "-m", "api", "upgrade"]
    processes = [
        subprocess.Popen(command_line, env={"DATABASE_URL": url}, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    answers = [(process.communicate()[1], process.returncode) for process in processes]

    assert answers == [("", 0)] * 3
    assert inspect(engine).has_table("posts")


def test_an_upgrade_waits_for_another_one(on_postgresql, engine):
    done = threading.Event()
    thread = threading.Thread(target=lambda: (migrations.upgrade(engine), done.set()))
    with engine.begin() as other:
        other.execute(text(f"SELECT pg_advisory_xact_lock({revisions._LOCK})"))
        thread.start()
        _until_somebody_waits_for_a_lock(other, done)
        waited = not done.is_set()
    thread.join()

    assert waited
    assert done.is_set()


def _until_somebody_waits_for_a_lock(connection, done):
    statement = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    while not done.wait(0.02) and not connection.scalar(statement):
        pass


def test_an_upgrade_leaves_foreign_keys_in_force():
    """In memory, where the connection that was upgraded is the one that serves."""
    flask_app = Flask(__name__)
    database.init_app(flask_app, Settings.from_config({"SQLALCHEMY_DATABASE_URI": "sqlite://"}))
    with flask_app.app_context():
        migrations.upgrade(database.db.engine)
        with database.db.engine.begin() as connection:
            connection.execute(text("INSERT INTO users (id, username, email) VALUES (1, 'ann', 'ann@example.com')"))
            connection.execute(text("INSERT INTO posts (title, content, user_id) VALUES ('a', 'b', 1)"))
            connection.execute(text("DELETE FROM users"))
            left = connection.scalar(text("SELECT count(*) FROM posts"))
    database.dispose(flask_app)

    assert left == 0


def test_a_failing_revision_leaves_nothing_behind(engine, monkeypatch):
    def upgrade_and_fail(config, revision):
        upgrade(config, revision)
        raise RuntimeError

    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", upgrade_and_fail)
    with pytest.raises(RuntimeError):
        migrations.upgrade(engine)

    assert inspect(engine).get_table_names() == []


def test_downgrade_reverses_upgrade(engine):
    migrations.upgrade(engine)
    with engine.begin() as connection:
        config = revisions._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")

    assert inspect(engine).get_table_names() == ["alembic_version"]


def _to(engine, revision, move=command.upgrade):
    """Bring the schema to a revision."""
    with revisions._ALONE[engine.name](connection := engine.connect()):
        config = revisions._config()
        config.attributes["connection"] = connection
        move(config, revision)
        connection.commit()
    connection.close()


# What version 1.0.0 runs: it names its columns, and knows nothing of the column `version`.
OLD_STATEMENTS = (
    "INSERT INTO users (username, email) VALUES (:name, :name) RETURNING users.id, users.username, users.email",
    "UPDATE users SET email = users.email || '.' WHERE users.username = :name RETURNING users.id, users.email",
    "SELECT users.id, users.username, users.email FROM users WHERE users.username = :name",
    "INSERT INTO posts (title, content, user_id) SELECT username, username, id FROM users WHERE username = :name",
)


def test_the_version_is_added_while_the_previous_version_serves(engine):
    _to(engine, "0001")
    enough, done = threading.Event(), threading.Event()
    served = []

    def serve(number):
        while not done.is_set():
            name = f"{number}-{len(served)}"
            with engine.connect() as connection:
                if engine.name == "sqlite":
                    connection.exec_driver_sql("PRAGMA busy_timeout = 600000")
                for statement in OLD_STATEMENTS:
                    connection.execute(text(statement), {"name": name})
                    connection.commit()
            served.append(name)
            if len(served) > 20:
                enough.set()

    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(serve, number) for number in range(2)]
        while not enough.wait(0.02) and not any(thread.done() for thread in running):
            pass
        before = len(served)
        _to(engine, "0002")
        after = len(served)
        while len(served) < after + 20 and not any(thread.done() for thread in running):
            pass
        done.set()
        for thread in running:
            thread.result()  # raises what a statement raised

    with engine.connect() as connection:
        counts = [connection.scalar(text(f"SELECT count(*) FROM {table}")) for table in ("users", "posts")]
        versions = {*connection.scalars(text("SELECT version FROM users UNION ALL SELECT version FROM posts"))}
    assert before > 20
    assert counts == [len(served)] * 2
    assert versions == {1}


def test_the_version_is_taken_away_and_the_rows_are_kept(engine):
    migrations.upgrade(engine)
    with engine.begin() as connection:
        for statement in (OLD_STATEMENTS[0], OLD_STATEMENTS[3]):
            connection.execute(text(statement), {"name": "ann"})
        connection.execute(text("UPDATE users SET version = 7"))

    _to(engine, "0001", command.downgrade)
    with engine.connect() as connection:
        rows = [connection.execute(text(f"SELECT * FROM {table}")).mappings().one() for table in ("users", "posts")]
    _to(engine, "0002")
    with engine.connect() as connection:
        versions = connection.execute(text("SELECT users.version, posts.version FROM users, posts")).one()

    assert [dict(row) for row in rows] == [
        {"id": 1, "username": "ann", "email": "ann"},
        {"id": 1, "title": "ann", "content": "ann", "user_id": 1},
    ]
    assert tuple(versions) == (1, 1)


def test_pending_revisions_are_reported_without_a_change(engine):
    before = check.pending_revisions(engine)
    tables = inspect(engine).get_table_names()
    migrations.upgrade(engine)

    assert before[-1] == migrations.head()
    assert tables == []
    assert check.pending_revisions(engine) == []


READ_ONLY = "ALTER DATABASE empty SET default_transaction_read_only = on"
NO_RIGHT = "ALTER ROLE visitor SET search_path = public"


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (READ_ONLY, "The database's schema is not up to date, and the database is read-only."),
        (NO_RIGHT, "The database's schema is not up to date, and the database user may not create tables."),
    ],
)
def test_a_pending_revision_that_cannot_be_run_is_reported(on_postgresql, engine, prepare, sentence):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if prepare == NO_RIGHT:
            connection.execute(text("CREATE ROLE visitor LOGIN"))
        connection.execute(text(prepare))
    engine.dispose()
    asked = engine if prepare == READ_ONLY else create_engine(engine.url.set(username="visitor"))

    with pytest.raises(check.Unfit) as refusal:
        check.pending_revisions(asked)
    with pytest.raises(DBAPIError):
        migrations.upgrade(asked)

    assert str(refusal.value) == sentence
    asked.dispose()


def test_head_is_the_one_that_alembic_finds():
    assert migrations.head() == ScriptDirectory.from_config(revisions._config()).get_current_head()


@pytest.mark.parametrize(
    ("files", "head"),
    [
        (["revision = '1'\ndown_revision = None"], "1"),
        (["revision: str = '2'\ndown_revision: str | None = '1'", "revision = '1'\ndown_revision = None"], "2"),
        (["revision = '1'", "revision = '2'\ndown_revision = '1'", "revision = '3'\ndown_revision = '1'"], None),
        (["revision = '1'", "revision = '2'", "revision = '3'\ndown_revision = ('1', '2')"], "3"),
        ([], None),
    ],
)
def test_head_is_the_revision_that_no_other_follows(tmp_path, monkeypatch, files, head):
    for number, source in enumerate(files):
        (tmp_path / f"{number}.py").write_text(f"from alembic import op\n{source}\n")
    monkeypatch.setattr(migrations, "_VERSIONS", tmp_path)

    assert migrations.head.__wrapped__() == head
