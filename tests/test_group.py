"""Changes that wait at the same time share a transaction of SQLite, and nobody can tell from their results."""

import resource
import sqlite3
from contextlib import closing, contextmanager
from functools import partial
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import String, bindparam, create_engine, delete, event, insert, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from api import posts, users
from api.config import Settings
from api.database import db, sqlite
from api.database.engines import writer_options
from api.database.group import GroupCommit, GroupRunner
from api.database.refusals import problem_of
from api.models import User, UsernameTaken
from contractapp import Problem

NAMES = st.sampled_from(["ann", "bob", "cid"])
IDS = st.integers(1, 6)
ADDRESSES = st.sampled_from(["a@example.com", "b@example.com", "c@example.com"])
CHANGES = st.one_of(
    st.tuples(st.just(users._INSERT), st.fixed_dictionaries({"username": NAMES, "email": ADDRESSES})),
    st.tuples(
        st.just(users._UPDATE),
        st.fixed_dictionaries({"user_id": IDS, "username": NAMES}, optional={"email": ADDRESSES}),
    ),
    st.tuples(st.just(users._DELETE), st.fixed_dictionaries({"user_id": IDS})),
    st.tuples(
        st.just(posts._INSERT),
        st.fixed_dictionaries({"title": NAMES, "content": NAMES, "user_id": IDS | st.just(2**70)}),
    ),
    st.tuples(st.just(posts._DELETE), st.fixed_dictionaries({"post_id": IDS})),
)
ALL_EMAILS = (
    update(User.__table__)
    .values(email=bindparam("new", type_=String) + User.__table__.c.email)
    .returning(User.__table__.c.id)
)


class Database:
    """An SQLite file with the tables, and the changes that are run there; `log` has every statement it saw."""

    def __init__(self, path, lock_timeout_seconds=600):
        self.path = path
        url = f"sqlite:///{path}"
        config = {"SQLALCHEMY_DATABASE_URI": url, "API_LOCK_TIMEOUT_SECONDS": lock_timeout_seconds}
        self.engine = create_engine(url, **writer_options(Settings.from_config(config)))
        self.log = []
        event.listen(self.engine, "connect", sqlite.set_pragmas)
        event.listen(self.engine, "connect", lambda connection, _: connection.set_trace_callback(self.log.append))
        db.metadata.create_all(self.engine)
        self.engine.dispose()
        self.group = GroupCommit(GroupRunner(self.engine))
        self.log.clear()

    def add(self, statement, **parameters):
        return self.group.add(statement, parameters, problem_of)

    def new(self, name):
        return self.add(users._INSERT, username=name, email=f"{name}@example.com")

    def together(self, changes):
        """The outcomes of changes that wait at the same time."""
        return [
            outcome(partial(self.group.run, added)) for added in [self.add(one, **values) for one, values in changes]
        ]

    def alone(self, changes):
        return [outcome(partial(self.group.runner.change, *change, problem_of)) for change in changes]

    def run_script(self, *statements):
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return [connection.execute(statement).fetchall() for statement in statements]

    def rows(self):
        return self.run_script("SELECT * FROM users ORDER BY id", "SELECT * FROM posts ORDER BY id")

    def names(self):
        return [name for (name,) in self.run_script("SELECT username FROM users ORDER BY id")[0]]

    def count(self, statement):
        return sum(line.startswith(statement) for line in self.log)

    def dispose(self):
        self.group.runner.dispose()


def outcome(call):
    """What a change returned or raised, in a form that can be compared."""
    try:
        return [tuple(row) for row in call()]
    except Problem as problem:
        return problem.body()
    except Exception as error:  # noqa: BLE001  # each kind of error is compared
        return type(error)


@pytest.fixture
def open_database(tmp_path):
    opened = []

    def open_database(name="group", **options):
        opened.append(Database(tmp_path / f"{name}.db", **options))
        return opened[-1]

    yield open_database
    for database in opened:
        database.dispose()


@pytest.fixture
def database(open_database):
    return open_database()


@pytest.fixture
def both(open_database):
    """Two databases with the same rows: one for changes together, one for the same changes alone."""
    return open_database("together"), open_database("alone")


@given(changes=st.lists(CHANGES, max_size=20))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changes_together_are_as_if_run_one_after_another(both, changes):
    for database in both:
        database.run_script("DELETE FROM users", "DELETE FROM sqlite_sequence")
    together, alone = both

    outcomes = together.together(changes)

    assert outcomes == alone.alone(changes)
    assert together.rows() == alone.rows()


def test_changes_that_wait_share_one_commit(database):
    changes = [database.new(f"u{number}") for number in range(10)]

    rows = [database.group.run(change) for change in changes]

    assert [row[0][1] for row in rows] == database.names() == [f"u{number}" for number in range(10)]
    assert database.count("COMMIT") == 1


def test_more_changes_than_a_transaction_takes_are_all_done(database):
    changes = [database.new(f"u{number}") for number in range(150)]

    for change in changes:
        database.group.run(change)

    assert database.names() == [f"u{number}" for number in range(150)]
    assert database.count("COMMIT") == 3


def test_a_refused_change_gets_its_problem_and_the_others_their_rows(database):
    changes = [database.new(name) for name in ("ann", "bob", "ann", "cid")]

    results = [outcome(partial(database.group.run, change)) for change in changes]

    assert results[2]["type"] == UsernameTaken.type
    assert [type(result) for result in results] == [list, list, dict, list]
    assert database.names() == ["ann", "bob", "cid"]


@pytest.mark.parametrize("action", ["ABORT", "ROLLBACK", "FAIL"])
def test_whatever_a_refusal_does_to_its_transaction_the_others_are_stored(both, action):
    """The second row of an UPDATE is refused: FAIL would keep the first one, ROLLBACK undo the changes before."""
    changes = [
        *((users._INSERT, {"username": name, "email": name}) for name in ("ann", "bob", "cid")),
        (ALL_EMAILS, {"new": "x"}),
        (users._INSERT, {"username": "dan", "email": "dan"}),
    ]
    for database in both:
        database.run_script(
            "CREATE TRIGGER refuse BEFORE UPDATE ON users WHEN OLD.username = 'bob'"
            f" BEGIN SELECT RAISE({action}, 'no'); END"
        )
    together, alone = both

    outcomes = together.together(changes)

    assert outcomes == alone.alone(changes)
    assert outcomes[3] is IntegrityError
    assert together.rows() == alone.rows()
    assert [email for _, _, email, *_ in together.rows()[0]] == ["ann", "bob", "cid", "dan"]


def test_a_change_that_makes_the_commit_fail_fails_alone(database):
    database.run_script(
        "CREATE TABLE later (id INTEGER REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TRIGGER fail AFTER INSERT ON users WHEN NEW.username = 'bob' BEGIN INSERT INTO later VALUES (-1); END",
    )
    changes = [database.new(name) for name in ("ann", "bob", "cid")]

    results = [outcome(partial(database.group.run, change)) for change in changes]

    assert [type(result) for result in results] == [list, type, list]
    assert database.names() == ["ann", "cid"]


@contextmanager
def no_larger_than(path):
    """No file of this process can grow beyond the present size of this one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_no_change_is_answered_as_stored_if_the_commit_fails(database):
    database.group.run(database.new("first"))
    changes = [database.new(name) for name in ("ann", "bob")]
    errors = []

    with no_larger_than(database.path.with_name(f"{database.path.name}-wal")):
        for change in changes:
            with pytest.raises(DBAPIError) as raised:
                database.group.run(change)
            errors.append(raised.value)

    assert database.names() == ["first"]
    assert errors[0] is not errors[1]  # each is raised in another thread
    assert errors[0].orig is errors[1].orig


def test_an_error_that_is_not_sqlalchemys_is_answered_to_its_change_only(database):
    changes = [database.new("ann"), database.add(users._DELETE, user_id=2**70), database.new("bob")]
    results = []

    thread = Thread(target=lambda: results.extend(outcome(partial(database.group.run, one)) for one in changes))
    thread.daemon = True
    thread.start()
    thread.join(60)

    assert [type(result) for result in results] == [list, type, list]
    assert results[1] is OverflowError
    assert database.names() == ["ann", "bob"]


def test_a_locked_database_is_waited_for_once_by_all_changes(open_database):
    database = open_database(lock_timeout_seconds=0.1)
    changes = [database.new(f"u{number}") for number in range(10)]
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        results = [outcome(partial(database.group.run, change)) for change in changes]

    assert all(issubclass(result, DBAPIError) for result in results)
    assert database.count("BEGIN") == 1
    assert database.names() == []


def test_a_change_that_is_given_up_while_another_thread_runs_is_not_run_and_blocks_nothing(database):
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        first = database.new("ann")
        threads = [Thread(target=database.group.run, args=[first], daemon=True)]
        threads[0].start()
        while database.group._waiting:  # until it leads
            pass
        second = database.new("bob")
        threads.append(Thread(target=database.group.run, args=[second], daemon=True))
        threads[1].start()
        database.group.give_up(second)
    for thread in threads:
        thread.join(60)

    assert [thread.is_alive() for thread in threads] == [False, False]
    assert database.names() == ["ann"]


def test_a_change_that_no_thread_runs_is_not_kept(database):
    change = database.new("ann")
    database.group.give_up(change)
    database.group.run(database.new("bob"))

    assert not database.group._waiting
    assert database.names() == ["bob"]


def test_listeners_see_every_statement(database):
    seen = []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
    changes = [database.new(name) for name in ("ann", "bob", "cid")]

    for change in changes:
        database.group.run(change)

    assert len(seen) == 3


def test_a_statement_for_sqlalchemy_is_run_among_the_others(both):
    several = delete(User.__table__).where(User.__table__.c.id.in_(bindparam("ids", expanding=True)))
    changes = [
        *((users._INSERT, {"username": name, "email": name}) for name in ("ann", "bob")),
        (several.returning(User.__table__.c.id), {"ids": [1, 7]}),
        (insert(User.__table__).values(username=text("'cid'"), email="c").returning(User.__table__.c.id), {}),
    ]
    together, alone = both

    outcomes = together.together(changes)

    assert outcomes == alone.alone(changes)
    assert together.rows() == alone.rows()
    assert together.names() == ["bob", "cid"]
