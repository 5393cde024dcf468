"""The commands of README and docs that need a started service print, run in order, the output that the pages show."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.pages import ROOT, blocks

ADDRESS = "127.0.0.1:8000"
SHOWN = [block for block in blocks() if block.run_by == "tests/test_readme_examples.py"]


@pytest.fixture
def served(tmp_path):
    """The address of `api serve` in an empty folder; the folder, and the environment of the service."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("API_", "DATABASE_"))}
    environment["PYTHONPATH"] = str(ROOT)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-m", "api", "serve", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api/health/ready", server)
        yield f"127.0.0.1:{port}", tmp_path, environment
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def wait_for(url, server):
    """Wait without a time limit: the machine may be busy."""
    while server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the server stopped")


def test_every_curl_line_of_the_readme_is_run():
    text = (ROOT / "README.md").read_text()

    assert sum(block.page == "README.md" for block in SHOWN) == text.count("\ncurl ") > 3


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_print_what_is_shown(served):
    address, folder, environment = served

    printed = [
        subprocess.run(
            ["sh", "-ec", block.commands.replace(ADDRESS, address)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for block in SHOWN
    ]

    assert [output.replace(address, ADDRESS).strip() for output in printed] == [block.output.strip() for block in SHOWN]
