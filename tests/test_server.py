"""`api serve` with two workers: they answer, and they stop. `tests/faults/` does worse things to them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest


@pytest.fixture
def server(tmp_path):
    """The process of a server with two workers, and its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{tmp_path}/api.db",
        "API_SHUTDOWN_TIMEOUT_SECONDS": "3",
        "PYTHONPATH": str(Path.cwd()),
    }
    command = [sys.executable, "-m", "api", "serve", "--port", str(port), "--workers", "2"]
    process = subprocess.Popen(command, env=environment)
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
