"""Reads and writes, and their errors when the database refuses a row or cannot answer."""

import logging
import sqlite3
import threading
import time
from contextlib import closing, contextmanager

import pytest
from flask import Flask, current_app
from sqlalchemy import Insert, Integer, String, bindparam, cast, create_engine, event, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from api import database, posts
from api.config import Settings
from api.database import db, read, write
from api.models import EmailTaken, Post, UnknownUser, User, UsernameTaken
from contractapp.problems import Unavailable

_ALL = select(User.__table__.c.username)
_NEW = insert(User.__table__).returning(User.__table__.c.id)
ANN = {"username": "ann", "email": "ann@example.com"}


@contextmanager
def serving(**config):
    """A new Flask application on a given database, inside its context."""
    settings = Settings.from_config({"API_LOCK_TIMEOUT_SECONDS": 0.2, "API_POOL_TIMEOUT_SECONDS": 0.2, **config})
    flask_app = Flask(__name__)
    flask_app.config.update(settings.flask_config)
    database.init_app(flask_app, settings)
    with flask_app.app_context():
        yield flask_app
    database.dispose(flask_app)


@pytest.fixture
def short(app, database_url):
    """A Flask application on the run's database, with short timeouts."""
    with serving(SQLALCHEMY_DATABASE_URI=database_url, API_STATEMENT_TIMEOUT_SECONDS=0.3) as flask_app:
        yield flask_app
    database.dispose(app.app)  # a test may have ended the connections of the pools


@pytest.fixture
def own_file(tmp_path):
    """A database file, with tables, that a test may move."""
    path = tmp_path / "api.db"
    with serving(SQLALCHEMY_DATABASE_URI=f"sqlite:///{path}"):
        db.create_all()
        yield path


def test_a_write_is_there_for_the_next_read(db):
    row = write(_NEW, ANN)

    assert row == (1,)
    assert read(_ALL, {}) == [("ann",)]


def test_a_write_that_changes_no_row_returns_none(db):
    assert write(User.__table__.delete().returning(User.__table__.c.id), {}) is None


@pytest.mark.parametrize(
    ("taken", "problem"),
    [({"email": "other@example.com"}, UsernameTaken), ({"username": "other"}, EmailTaken)],
)
def test_a_refused_constraint_raises_its_problem(db, taken, problem):
    write(_NEW, ANN)

    with pytest.raises(problem) as refusal:
        write(_NEW, {**ANN, **taken})

    assert refusal.value.body() == {
        "type": problem.type,
        "title": problem.title,
        "status": 400,
        "detail": problem.default_detail,
        "errors": [{"in": "body", "pointer": problem.pointer, "detail": problem.default_detail}],
    }
    assert len(read(_ALL, {})) == 1


def test_both_are_reported_when_both_are_taken(db):
    write(_NEW, ANN)

    with pytest.raises(UsernameTaken) as refusal:
        write(_NEW, ANN)

    assert [fault.pointer for fault in refusal.value.errors] == ["/username", "/email"]


def test_a_constraint_without_a_problem_is_an_error(db):
    with pytest.raises(IntegrityError):
        write(_NEW, {"id": write(_NEW, ANN)[0], "username": "other", "email": "other@example.com"})
    with pytest.raises(IntegrityError):  # NOT NULL, on a column that is also unique
        write(_NEW, {"username": "other", "email": None})


def test_a_refused_foreign_key_raises_its_problem(db):
    with pytest.raises(UnknownUser):
        write(insert(Post.__table__).returning(Post.__table__.c.id), {"title": "a", "content": "b", "user_id": 999})


def test_a_post_of_an_unknown_user_is_refused(db):
    with pytest.raises(UnknownUser):
        posts.create_post({"title": "a", "content": "b", "user_id": 999})


SECRET = "s3cret-value"


@pytest.mark.parametrize("through_sqlalchemy", [False, True])
@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (_NEW, {"id": 1, "username": SECRET, "email": SECRET}),
        (_NEW, {"username": SECRET, "email": None}),
        (text("SELECT CAST(:value AS INTEGER) FROM nothing"), {"value": SECRET}),
        (select(cast(bindparam("value", type_=String), Integer)), {"value": SECRET}),
    ],
)
def test_an_error_never_shows_a_value(app, database_url, caplog, through_sqlalchemy, statement, parameters):
    with serving(SQLALCHEMY_DATABASE_URI=database_url, SQLALCHEMY_ECHO=True), caplog.at_level("INFO"):
        write(_NEW, {"id": 1, **ANN})
        if through_sqlalchemy:
            for runner in current_app.extensions["api.database"]:
                event.listen(runner.engine, "before_cursor_execute", lambda *_: None)
        try:
            (write if isinstance(statement, Insert) else read)(statement, parameters)
        except DBAPIError as error:
            logging.getLogger().error("A request failed.", exc_info=error)  # noqa: TRY400  # as the runtime logs it

    assert SECRET not in caplog.text


def test_a_session_never_shows_a_value_either(app, database_url, caplog):
    with serving(SQLALCHEMY_DATABASE_URI=database_url, SQLALCHEMY_ECHO=True), caplog.at_level("INFO"):
        db.session.add_all([User(username=SECRET, email="a"), User(username=SECRET, email="b")])
        with pytest.raises(IntegrityError) as error:
            db.session.commit()
        logging.getLogger().error("A request failed.", exc_info=error.value)

    assert "INSERT INTO users" in caplog.text
    assert SECRET not in caplog.text


def test_a_programming_error_stays_an_error(db):
    with pytest.raises(DBAPIError):
        read(text("SELECT * FROM nothing"), {})


def test_sessions_see_what_was_written_and_the_other_way_round(db):
    write(_NEW, ANN)
    db.session.add(User(username="bob", email="bob@example.com"))
    db.session.commit()

    assert User.query.count() == len(read(_ALL, {})) == 2


def test_an_open_session_does_not_delay_other_requests(short, db):
    write(_NEW, ANN)
    assert User.query.count() == 1

    write(_NEW, {"username": "bob", "email": "bob@example.com"})

    assert len(read(_ALL, {})) == 2


def test_a_locked_database_is_unavailable_to_writes_and_open_to_reads(short, database_url):
    other = create_engine(database_url)
    with other.connect() as connection:
        lock = "BEGIN IMMEDIATE" if other.name == "sqlite" else "LOCK TABLE users IN EXCLUSIVE MODE"
        connection.exec_driver_sql(lock)
        started = time.monotonic()
        with pytest.raises(Unavailable) as refusal:
            write(_NEW, ANN)
        waited = time.monotonic() - started
        assert read(_ALL, {}) == []
    other.dispose()

    assert refusal.value.headers == {"Retry-After": "1"}
    assert 0.1 < waited < 2
    assert write(_NEW, ANN) is not None


def test_writers_wait_their_turn(app):
    def write_some(worker):
        with app.app.app_context():
            for number in range(10):
                write(_NEW, {"username": f"{worker}-{number}", "email": f"{worker}-{number}"})

    threads = [threading.Thread(target=write_some, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with app.app.app_context():
        assert len(read(_ALL, {})) == 40


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://nobody@127.0.0.1:1/nothing", "sqlite:////nonexistent/folder/api.db"]
)
def test_a_database_out_of_reach_is_unavailable(url):
    with serving(SQLALCHEMY_DATABASE_URI=url):
        with pytest.raises(Unavailable):
            read(_ALL, {})
        with pytest.raises(Unavailable):
            write(_NEW, ANN)


def test_a_pool_with_no_free_connection_is_unavailable(app, database_url):
    with serving(SQLALCHEMY_DATABASE_URI=database_url, API_READ_THREADS=1):
        engine = current_app.extensions["api.database"].reader.engine
        with engine.connect(), pytest.raises(Unavailable):
            read(_ALL, {})

        assert read(_ALL, {}) == []


def test_a_full_disk_is_unavailable(on_sqlite, short):
    with db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")

    with pytest.raises(Unavailable):  # more than fits into the pages that deleted rows of other tests left free
        write(_NEW, {"username": "ann", "email": "long" * 1_000_000})


def test_a_file_that_is_no_database_is_an_error(on_sqlite, tmp_path):
    (tmp_path / "api.db").write_text("This is not a database. " * 100)

    with serving(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/api.db"), pytest.raises(DBAPIError):
        read(_ALL, {})


def test_a_connection_that_may_not_write_is_not_used_again(on_sqlite, short, database_url):
    with db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")

    with pytest.raises(Unavailable):
        write(_NEW, ANN)

    assert write(_NEW, ANN) is not None


def test_a_deleted_file_is_unavailable_and_not_created_again(own_file):
    write(_NEW, ANN)
    elsewhere = own_file.rename(own_file.with_name("elsewhere.db"))

    with pytest.raises(Unavailable):
        read(_ALL, {})
    with pytest.raises(Unavailable):
        write(_NEW, {"username": "bob", "email": "bob@example.com"})

    assert not own_file.exists()
    elsewhere.rename(own_file)
    assert read(_ALL, {}) == [("ann",)]


def test_a_file_put_in_the_place_of_another_is_taken_up(own_file):
    write(_NEW, ANN)
    backup = own_file.with_name("backup.db")
    with closing(sqlite3.connect(own_file)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    write(_NEW, {"username": "bob", "email": "bob@example.com"})
    for path in list(own_file.parent.glob("api.db*")):
        path.rename(path.with_name(f"old-{path.name}"))
    backup.rename(own_file)

    assert read(_ALL, {}) == [("ann",)]
    assert write(_NEW, {"username": "cem", "email": "cem@example.com"}) is not None
    assert read(_ALL, {}) == [("ann",), ("cem",)]


def test_a_file_put_beside_the_log_of_another_is_unavailable_until_the_log_is_gone(own_file):
    backup = own_file.with_name("backup.db")
    with closing(sqlite3.connect(own_file)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    for number in range(100):
        write(_NEW, {"username": f"{number}", "email": f"{number}" * 20})
        if number == 50:
            with closing(sqlite3.connect(own_file)) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    backup.replace(own_file)

    with pytest.raises(Unavailable) as refusal:
        read(_ALL, {})
    with pytest.raises(Unavailable):
        write(_NEW, ANN)

    assert f"{own_file}-wal does not belong to {own_file}" in str(refusal.value.__cause__)
    for path in own_file.parent.glob("api.db-*"):
        path.unlink()
    assert read(_ALL, {}) == []
    assert write(_NEW, ANN) == (1,)


def test_a_committed_row_survives_a_power_cut(on_sqlite, db):
    with db.engine.connect() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
            for pragma in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert pragmas == ["wal", 2, 1]


def test_a_read_that_meets_a_dead_connection_is_tried_once_more(on_postgresql, short, database_url):
    read(_ALL, {})
    _end_connections(database_url)

    assert read(_ALL, {}) == []


def test_all_connections_as_old_as_a_dead_one_are_dropped_with_it(on_postgresql, short, database_url):
    reader = current_app.extensions["api.database"].reader
    taken = [reader._take() for _ in range(3)]
    for connection in taken:
        reader._give_back(connection)
    _end_connections(database_url)

    assert [read(_ALL, {}) for _ in range(3)] == [[], [], []]


def test_a_table_altered_under_a_prepared_statement_is_read_anew(on_postgresql, short, database_url):
    statement = select(User.__table__)
    for _ in range(10):  # psycopg prepares what comes a sixth time
        read(statement, {})
    other = create_engine(database_url)
    try:
        with other.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE users ALTER COLUMN email TYPE varchar(121)")
        found = read(statement, {})
    finally:
        with other.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE users ALTER COLUMN email TYPE varchar(120)")
        other.dispose()

    assert found == []


def test_a_write_that_meets_a_dead_connection_is_not_tried_again(on_postgresql, short, database_url):
    write(_NEW, ANN)
    _end_connections(database_url)

    with pytest.raises(Unavailable):
        write(_NEW, {"username": "bob", "email": "bob@example.com"})

    assert read(_ALL, {}) == [("ann",)]
    assert write(_NEW, {"username": "bob", "email": "bob@example.com"}) is not None


def test_a_statement_that_takes_too_long_is_unavailable(on_postgresql, short):
    with pytest.raises(Unavailable):
        read(text("SELECT pg_sleep(5)"), {})


def test_a_database_in_memory_is_one_for_all_threads():
    with serving(SQLALCHEMY_DATABASE_URI="sqlite:///:memory:") as flask_app:
        db.create_all()
        db.session.add(User(**ANN))
        db.session.commit()
        seen = []

        def look():
            with flask_app.app_context():
                seen.extend(read(_ALL, {}))

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

        assert seen == [("ann",)]
        assert write(_NEW, {"username": "bob", "email": "bob@example.com"}) == (2,)
        assert User.query.count() == 2


def test_two_applications_in_memory_share_nothing():
    with serving(SQLALCHEMY_DATABASE_URI="sqlite://"):
        db.create_all()
        write(_NEW, ANN)
        with serving(SQLALCHEMY_DATABASE_URI="sqlite://"):
            db.create_all()

            assert read(_ALL, {}) == []


def test_a_given_engine_option_wins(tmp_path):
    options = {"poolclass": NullPool, "connect_args": {"timeout": 7}}
    url = f"sqlite:///{tmp_path}/api.db"
    with serving(SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_ENGINE_OPTIONS=options):
        assert isinstance(db.engine.pool, NullPool)
        with db.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 7000
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def _end_connections(database_url):
    """End the connections of a pool, like a restart of the database server."""
    other = create_engine(database_url)
    with other.begin() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    other.dispose()
