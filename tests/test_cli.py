"""The command `api`, run as a person runs it."""

import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text

from api import cli, database, users
from contractapp import ContractApp, server

UNREACHABLE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs `api …` on an SQLite database of its own."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/api.db")
    runner = CliRunner()
    return lambda *arguments: runner.invoke(cli.main, arguments)


@pytest.fixture
def served(monkeypatch):
    """Records the arguments of the server instead of starting it; other tests start the real server."""
    calls = []

    def serve(application, listener, *, workers, on_started, **_):
        calls.append((application, {"address": listener.getsockname(), "workers": workers}))
        listener.close()
        on_started()

    monkeypatch.setattr(server, "serve", serve)
    return calls


def count(tmp_path, table):
    engine = create_engine(f"sqlite:///{tmp_path}/api.db")
    with engine.connect() as connection:
        number = connection.scalar(text(f"SELECT count(*) FROM {table}"))  # a name from this file
    engine.dispose()
    return number


def test_help_names_the_commands(run):
    answer = run("--help")

    assert answer.exit_code == 0
    assert all(command in answer.output for command in ("serve", "upgrade", "seed", "check"))


def test_check_passes_after_upgrade(run):
    assert run("upgrade").output == ""

    answer = run("check")

    assert (answer.output, answer.exit_code) == ("Contract, handlers, database and schema are fit to serve.\n", 0)


FIT = "Contract, handlers, database and schema are fit to serve.\n"
REVISIONS = sorted(path.name.partition("_")[0] for path in Path("api/migrations/versions").glob("[0-9]*.py"))
BEHIND = f"{FIT}`api serve` will bring the schema up to date first: {', '.join(REVISIONS)}.\n"


def test_check_does_not_create_a_missing_database(run, tmp_path):
    answer = run("check")

    assert (answer.output, answer.exit_code) == (BEHIND, 0)
    assert list(tmp_path.iterdir()) == []


def test_check_changes_nothing_even_where_a_killed_process_left_a_log(run, tmp_path):
    run("upgrade")
    end_in_the_middle(tmp_path / "api.db", "UPDATE alembic_version SET version_num = '9999'")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".db-shm"}

    answer = run("check")

    assert (
        answer.stderr == "The database cannot be used: it was made by a newer version of the service (revision 9999)\n"
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".db-shm"} == before
    assert set(before) == {"api.db", "api.db-wal"}


def no_folder(tmp_path):
    tmp_path.rmdir()


def a_folder(tmp_path):
    (tmp_path / "api.db").mkdir()


def no_database(tmp_path):
    (tmp_path / "api.db").write_text("This is not a database. " * 100)


def an_empty_file(tmp_path):
    (tmp_path / "api.db").touch()


def another_tables(tmp_path):
    with closing(sqlite3.connect(tmp_path / "api.db")) as connection:
        connection.execute("CREATE TABLE users (id)")


def a_newer_schema(tmp_path):
    with closing(sqlite3.connect(tmp_path / "api.db")) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR)")
        connection.execute("INSERT INTO alembic_version VALUES (9)")
        connection.commit()


def another_log(tmp_path):
    with closing(sqlite3.connect(tmp_path / "api.db")) as connection:
        connection.execute("PRAGMA user_version = 7")
    end_in_the_middle(tmp_path / "other.db", "CREATE TABLE other (id)")
    (tmp_path / "other.db-wal").rename(tmp_path / "api.db-wal")


def nothing(_tmp_path):
    pass


def test_check_of_a_device_says_that_it_is_not_a_file(run, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "sqlite:////dev/null")

    answer = run("check")

    assert answer.output == "The database cannot be used: /dev/null is not a file.\n"


@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_check_reads_the_mode_in_the_url_as_serve_does(run, monkeypatch, tmp_path, served, mode):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///file:{tmp_path}/api.db?mode={mode}&uri=true")

    said, done = run("check"), run("serve", "--port", "0")

    assert (said.exit_code, done.exit_code, served) == (1, 1, [])


@pytest.mark.parametrize(
    ("prepare", "fit"),
    [
        (nothing, True),
        (an_empty_file, True),
        (no_folder, False),
        (a_folder, False),
        (no_database, False),
        (another_tables, False),
        (a_newer_schema, False),
        (another_log, False),
    ],
)
def test_check_says_what_serve_would_do(run, tmp_path, served, prepare, fit):
    prepare(tmp_path)

    said, done = run("check"), run("serve", "--port", "0")

    assert (said.exit_code, done.exit_code, len(served)) == ((0, 0, 1) if fit else (1, 1, 0))
    if not fit:
        (sentence,) = said.output.splitlines()
        assert sentence.startswith("The database cannot be used: ")
        assert done.stderr.startswith("The database cannot be used: ")
        assert len(done.stderr.splitlines()) == 1
    for application, _ in served:
        database.dispose(application.app)


def end_in_the_middle(path, statement):
    """Run a process that commits a statement and is killed: the row is then only in the log."""
    script = (
        "import os, signal, sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('PRAGMA journal_mode = WAL')\n"
        "connection.execute(sys.argv[2])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path), statement], check=False)
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0


def test_check_finds_all_faults(run, monkeypatch):
    monkeypatch.delattr(users, "get_user")
    monkeypatch.setenv("DATABASE_URL", UNREACHABLE)

    answer = run("check")

    about_contract, about_database = answer.output.splitlines()
    assert "get_user" in about_contract
    assert about_database.startswith("The database cannot be used: connection failed:")
    assert answer.exit_code == 1


@pytest.mark.parametrize("command", ["serve", "upgrade", "seed", "check"])
def test_a_bad_setting_stops_every_command_once(run, monkeypatch, served, command):
    monkeypatch.setenv("API_POOL_TIMEOUT_SECONDS", "soon")

    answer = run(command)

    assert answer.stderr == "API_POOL_TIMEOUT_SECONDS='soon': not a number\n"
    assert (answer.exit_code, served) == (1, [])


@pytest.mark.parametrize("command", ["serve", "upgrade", "seed", "check"])
def test_every_bad_setting_is_told_at_once(run, monkeypatch, served, command):
    monkeypatch.setenv("API_READ_THREADS", "many")
    monkeypatch.setenv("API_TRUSTED_PROXIES", "proxy")
    monkeypatch.setenv("DATABASE_URL", "sqlite:///api.db?nonsense=1")

    answer = run(command)

    assert answer.stderr.splitlines() == [
        "API_READ_THREADS='many': not a whole number",
        "DATABASE_URL: SQLite has no parameter nonsense",
        "API_TRUSTED_PROXIES: 'proxy' is neither an address nor a network such as 10.0.0.0/8",
    ]
    assert (answer.exit_code, served) == (1, [])


@pytest.mark.parametrize("command", ["serve", "upgrade", "seed"])
def test_a_file_that_cannot_be_opened_is_named(run, tmp_path, monkeypatch, served, command):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/missing/api.db")

    answer = run(command)

    sentence = f"The database cannot be used: {tmp_path}/missing/api.db: unable to open database file"
    assert answer.output.splitlines()[-1] == sentence
    assert (answer.exit_code, served) == (1, [])


@pytest.mark.parametrize("command", ["serve", "upgrade", "seed", "check"])
def test_a_file_that_is_no_database_is_named(run, tmp_path, served, command):
    no_database(tmp_path)

    answer = run(command)

    assert answer.output.splitlines()[-1] == f"The database cannot be used: {tmp_path}/api.db: file is not a database"
    assert (answer.exit_code, served) == (1, [])


@pytest.mark.parametrize("command", ["serve", "upgrade", "seed"])
def test_a_database_out_of_reach_stops_the_command(run, monkeypatch, served, command):
    monkeypatch.setenv("DATABASE_URL", UNREACHABLE)

    answer = run(command)

    assert answer.output.splitlines()[-1].startswith("The database cannot be used: connection failed:")
    assert (answer.exit_code, served) == (1, [])


def test_a_broken_contract_stops_serve(run, monkeypatch, served):
    monkeypatch.delattr(users, "get_user")

    answer = run("serve")

    assert "get_user" in answer.output
    assert (answer.exit_code, served) == (1, [])


def test_serve_makes_the_schema_and_says_what_it_does_and_where_swagger_ui_is(run, tmp_path, served):
    answer = run("serve", "--port", "0")

    ((_, listening),) = served
    host, port = listening["address"]
    assert answer.output.splitlines() == [
        "Starting on http://127.0.0.1:(a free port) (1 worker)",
        f"Database: sqlite:///{tmp_path}/api.db",
        f"Serving on http://127.0.0.1:{port}, Swagger UI: http://127.0.0.1:{port}/api/ui/",
    ]
    assert (host, listening["workers"]) == ("127.0.0.1", 1)
    assert count(tmp_path, "users") == 0


def test_workers_share_one_application_where_processes_can_be_forked(run, monkeypatch, served):
    run("serve", "--port", "0", "--workers", "2")
    monkeypatch.setattr(server, "can_fork", lambda: False)
    run("serve", "--port", "0", "--workers", "2")

    (shared, _), (named, _) = served
    assert (type(shared), named) == (ContractApp, "api:create_app")


def test_auto_stands_for_one_worker_for_each_core(run, monkeypatch, served):
    monkeypatch.setattr(server, "available_cores", lambda: 3)
    run("serve", "--port", "0", "--workers", "auto")
    monkeypatch.setenv("DATABASE_URL", "sqlite:///:memory:")  # belongs to one process
    run("serve", "--port", "0", "--workers", "auto")

    assert [listening["workers"] for _, listening in served] == [3, 1]
    database.dispose(served[1][0].app)


@pytest.mark.parametrize("given", ["0", "many"])
def test_an_unreadable_number_of_workers_is_refused(run, served, given):
    answer = run("serve", "--workers", given)

    assert (answer.exit_code, served) == (2, [])
    assert f"Invalid value for '--workers': {given}" in answer.output.replace("'many'", "many")


def test_serve_keeps_the_schema_it_made_in_memory(run, monkeypatch, served):
    monkeypatch.setenv("DATABASE_URL", "sqlite:///:memory:")

    run("serve", "--port", "0")

    application, _ = served[0]
    assert application.test_client().get("/api/health/ready").json() == {"status": "ok"}
    database.dispose(application.app)


def test_a_port_that_is_taken_stops_serve_with_a_sentence(run, served):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        answer = run("serve", "--port", str(port))

    assert answer.stderr == f"Cannot listen on 127.0.0.1, port {port}: Address already in use.\n"
    assert (answer.exit_code, served) == (1, [])


def test_a_database_in_memory_has_one_worker(run, monkeypatch, served):
    monkeypatch.setenv("DATABASE_URL", "sqlite:///:memory:")

    answer = run("serve", "--workers", "2")

    assert answer.stdout == "Starting on http://127.0.0.1:8000 (2 workers)\n"
    assert answer.stderr == "A database in memory belongs to one process: use --workers 1.\n"
    assert (answer.exit_code, served) == (1, [])


HEAVY = {"sqlalchemy", "alembic", "connexion", "flask", "uvicorn", "contractapp"}


def test_serve_says_what_it_does_before_it_imports_anything_heavy():
    script = (
        "import sys, click, api.cli\n"
        "def echo(line):\n"
        "    print(line, sorted({name.partition('.')[0] for name in sys.modules}))\n"
        "    raise SystemExit\n"
        "click.echo = echo\n"
        "api.cli.main(['serve'])\n"
    )

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert said.startswith("Starting on http://127.0.0.1:8000 (1 worker) [")
    assert {name for name in HEAVY if f"'{name}'" in said} == set()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:top%40secret@db.example:5433/blog?password=secret", "postgresql://db.example:5433/blog"),
        ("postgresql:///blog?user=ann&password=secret&host=/run", "postgresql:///blog"),
    ],
)
def test_serve_shows_the_database_without_its_secrets(run, monkeypatch, served, url, shown):
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setattr("api.create_app", lambda: (_ for _ in ()).throw(OSError("Enough.")))

    answer = run("serve")

    assert answer.stdout.splitlines()[1] == f"Database: {shown}"
    assert "secret" not in answer.output


@pytest.mark.parametrize("command", ["serve", "upgrade", "check"])
def test_a_schema_newer_than_the_code_stops_every_command(run, tmp_path, served, command):
    run("upgrade")
    engine = create_engine(f"sqlite:///{tmp_path}/api.db")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    answer = run(command)

    assert (
        answer.stderr == "The database cannot be used: it was made by a newer version of the service (revision 9999)\n"
    )
    assert (answer.exit_code, served) == (1, [])


def test_seed_adds_that_many_more(run, tmp_path):
    run("upgrade")
    run("seed", "--users", "5", "--posts", "12")

    answer = run("seed", "--users", "1001", "--posts", "3")

    assert answer.exit_code == 0
    assert (count(tmp_path, "users"), count(tmp_path, "posts")) == (1006, 15)


def test_seed_gives_new_posts_to_the_users_there_are(run, tmp_path):
    run("upgrade")
    run("seed", "--users", "2", "--posts", "0")
    run("seed", "--users", "0", "--posts", "4")

    assert count(tmp_path, "posts") == 4


def test_seed_without_authors_says_so(run):
    run("upgrade")

    answer = run("seed", "--users", "0", "--posts", "1")

    assert "There is no user who could write the posts: add users, too." in answer.output
    assert answer.exit_code == 1
