"""The command `api`, run as a person runs it."""

import socket

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text

from api import cli, database, users
from contractapp import server

UNREACHABLE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs `api …` on an SQLite database of its own."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/api.db")
    runner = CliRunner()
    return lambda *arguments: runner.invoke(cli.main, arguments)


@pytest.fixture
def served(monkeypatch):
    """What would be served: the server itself is started by the tests of the started server."""
    calls = []

    def serve(application, listener, *, workers, **_):
        calls.append((application, {"address": listener.getsockname(), "workers": workers}))
        listener.close()

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


def test_check_finds_a_schema_behind_head(run):
    answer = run("check")

    assert (answer.output, answer.exit_code) == ("The database schema is not at head.\n", 1)


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

    assert answer.output == "API_POOL_TIMEOUT_SECONDS='soon': could not convert string to float\n"
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


def test_serve_makes_the_schema_and_says_where_swagger_ui_is(run, tmp_path, served):
    answer = run("serve", "--port", "0")

    ((_, listening),) = served
    host, port = listening["address"]
    assert answer.output == f"Swagger UI: http://127.0.0.1:{port}/api/ui/\n"
    assert (host, listening["workers"]) == ("127.0.0.1", 1)
    assert count(tmp_path, "users") == 0


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

    assert answer.output == f"Cannot listen on 127.0.0.1, port {port}: Address already in use.\n"
    assert (answer.exit_code, served) == (1, [])


def test_a_database_in_memory_has_one_worker(run, monkeypatch, served):
    monkeypatch.setenv("DATABASE_URL", "sqlite:///:memory:")

    answer = run("serve", "--workers", "2")

    assert answer.output == "A database in memory is one process's own: serve it with one worker.\n"
    assert (answer.exit_code, served) == (1, [])


def test_a_schema_newer_than_the_code_stops_serve(run, tmp_path, served):
    run("upgrade")
    engine = create_engine(f"sqlite:///{tmp_path}/api.db")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    answer = run("serve")

    assert answer.output == "The database cannot be used: Can't locate revision identified by '9999'\n"
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

    assert "Posts need authors: add users too." in answer.output
    assert answer.exit_code == 1
