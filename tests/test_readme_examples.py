"""The README's curl commands, run in order against a server started as it says, print the output that it shows."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ADDRESS = "127.0.0.1:8000"

# A block with a single curl command, and the following block with its output.
SHOWN = re.findall(r"```sh\n(curl [^\n]*)\n```\n\n```\w*\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def served(tmp_path):
    """The address of `api serve` in an empty folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("API_", "DATABASE_"))}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "api", "serve", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api/health/ready", server)
        yield f"127.0.0.1:{port}"
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


def test_every_curl_line_has_its_output():
    text = (ROOT / "README.md").read_text()

    assert len(SHOWN) == text.count("\ncurl ") > 3


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_prints_what_is_shown(served):
    printed = [
        subprocess.run(["sh", "-c", line.replace(ADDRESS, served)], capture_output=True, text=True, check=True).stdout
        for line, _ in SHOWN
    ]

    assert [output.replace(served, ADDRESS).strip() for output in printed] == [output.strip() for _, output in SHOWN]
