"""`api serve` with two workers answers requests and stops. `tests/faults/` has the tests of faults."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

# PostgreSQL's name for the connections of the started server.
APPLICATION_NAME = "started-server"


@pytest.fixture(params=[2])
def server(request, tmp_path):
    """The process of a server, by default with two workers, and its base URL."""
    with started(f"sqlite:///{tmp_path}/api.db", workers=request.param) as server:
        yield server


@contextmanager
def started(database_url, *, workers):
    """A server on this database: its process and its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "API_SHUTDOWN_TIMEOUT_SECONDS": "3",
        "PGAPPNAME": APPLICATION_NAME,
        "PYTHONPATH": str(Path.cwd()),
    }
    command = [sys.executable, "-m", "api", "serve", "--port", str(port), "--workers", str(workers)]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    yield process, f"http://127.0.0.1:{port}"
    if process.poll() is None:
        process.kill()
        process.wait()


def until_alive(base):
    return until_ready(base, "live")


def until_ready(base, check="ready"):
    for _ in range(200):
        with suppress(OSError), urllib.request.urlopen(f"{base}/api/health/{check}", timeout=5) as response:
            return json.load(response)
        time.sleep(0.1)
    raise AssertionError("The server does not answer.")


def test_two_workers_answer_and_stop(server):
    process, base = server

    ready = until_ready(base)
    process.send_signal(signal.SIGTERM)

    assert ready == {"status": "ok"}
    assert process.wait(10) == 0


@pytest.mark.parametrize("server", [1, 2], indirect=True)
def test_a_server_that_stops_leaves_its_rows_in_the_database_and_nothing_beside_it(server, tmp_path):
    process, base = server
    until_ready(base)
    created = [_create(base, number) for number in range(20)]
    before = {path.name for path in tmp_path.iterdir()}
    process.send_signal(signal.SIGTERM)
    process.wait(10)

    assert "api.db-wal" in before
    assert [path.name for path in tmp_path.iterdir()] == ["api.db"]
    assert _stored(tmp_path) == created


@pytest.mark.parametrize("server", [1, 2], indirect=True)
def test_writes_that_a_killed_server_acknowledged_are_there_after_the_next_start(server, tmp_path):
    process, base = server
    until_ready(base)
    created = [_create(base, number) for number in range(20)]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    log = (tmp_path / "api.db-wal").stat().st_size

    subprocess.run(
        [sys.executable, "-m", "api", "upgrade"],
        env={**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path}/api.db", "PYTHONPATH": str(Path.cwd())},
        check=True,
    )

    assert log > 0
    assert [path.name for path in tmp_path.iterdir()] == ["api.db"]
    assert _stored(tmp_path) == created


def _create(base, number):
    """The name of a user whose creation was acknowledged."""
    body = json.dumps({"username": f"user{number}", "email": f"user{number}@example.com"}).encode()
    request = urllib.request.Request(f"{base}/api/users", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["username"]


def _stored(folder):
    """The names in the database file alone."""
    with closing(sqlite3.connect(f"file:{folder}/api.db?immutable=1", uri=True)) as connection:
        return [name for (name,) in connection.execute("SELECT username FROM users ORDER BY id")]


def test_workers_end_with_their_parent(server):
    process, base = server
    until_ready(base)

    process.kill()
    process.wait()

    port = int(base.rpartition(":")[2])
    deadline = time.monotonic() + 10
    with suppress(ConnectionRefusedError):
        while time.monotonic() < deadline:
            socket.create_connection(("127.0.0.1", port), 1).close()
            time.sleep(0.1)
    assert time.monotonic() < deadline


def test_the_process_that_forks_the_workers_has_no_thread_event_loop_or_database(server, tmp_path):
    process, base = server
    until_ready(base)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    opened, opened_by_workers = _opened(process.pid), set().union(*map(_opened, workers))

    assert len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 1
    assert {str(tmp_path / "api.db"), "anon_inode:[eventpoll]"} <= opened_by_workers
    assert not {str(tmp_path / "api.db"), "anon_inode:[eventpoll]"} & opened


def _opened(pid):
    """What the file descriptors of a process refer to."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime
            found.add(str(path.readlink()))
    return found


def test_workers_are_forked_without_connections_to_postgresql(on_postgresql, database_url):
    with started(database_url, workers=2) as (process, base):
        until_alive(base)
        before = connections(database_url)
        until_ready(base)
        after = connections(database_url)
        process.send_signal(signal.SIGTERM)
        process.wait(10)

    assert (before, after > 0, connections(database_url)) == (0, True, 0)


def connections(database_url):
    """How many connections to the database the started server has."""
    engine = create_engine(database_url)
    statement = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
    with engine.connect() as connection:
        number = connection.scalar(statement, {"name": APPLICATION_NAME})
    engine.dispose()
    return number
