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
from contextlib import closing, suppress
from pathlib import Path

import pytest


@pytest.fixture(params=[2])
def server(request, tmp_path):
    """The process of a server, by default with two workers, and its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{tmp_path}/api.db",
        "API_SHUTDOWN_TIMEOUT_SECONDS": "3",
        "PYTHONPATH": str(Path.cwd()),
    }
    command = [sys.executable, "-m", "api", "serve", "--port", str(port), "--workers", str(request.param)]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    yield process, f"http://127.0.0.1:{port}"
    if process.poll() is None:
        process.kill()
        process.wait()


def until_ready(base):
    for _ in range(200):
        with suppress(OSError), urllib.request.urlopen(f"{base}/api/health/ready", timeout=5) as response:
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
