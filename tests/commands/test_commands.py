"""The commands of README and pages that install packages, run as printed in a copy of the checkout (`tox -e commands`).

Two things are changed: the port, so that no other program has it, and `PATH`, as if the copy's environment were active.
"""

import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.pages import blocks
from tools.tutorial import copy_project

ADDRESS = "127.0.0.1:8000"
BLOCKS = [block for block in blocks() if block.run_by == "commands"]


def section(page, heading):
    return [block.commands for block in BLOCKS if (block.page, block.heading) == (page, heading)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout, in which a fixture and the tests run commands one after the other."""
    folder = tmp_path_factory.mktemp("checkout")
    copy_project(folder)
    inherited = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    environment = {
        name: value
        for name, value in inherited.items()
        if not name.startswith(("API_", "DATABASE_", "TOX_", "PYTEST_"))
    }
    environment["PATH"] = f"{folder}/.venv/bin{os.pathsep}{environment['PATH']}"

    def run(commands):
        done = subprocess.run(
            ["sh", "-ec", commands], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return SimpleNamespace(folder=folder, environment=environment, run=run)


@pytest.fixture(scope="module")
def served(checkout):
    """The address of the service that the first command of the README installs and starts."""
    start, _ = section("README.md", "Quick start")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        ["sh", "-ec", f"{start.rstrip()} --port {port}"],
        cwd=checkout.folder,
        env=checkout.environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("Serving on "):
                break
        assert said[-1:] == [f"Serving on http://127.0.0.1:{port}, Swagger UI: http://127.0.0.1:{port}/api/ui/\n"], said
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        process.stdout.close()


def test_the_first_command_of_the_readme_starts_the_service(served):
    address = f"http://{served}/api/health/ready"

    assert subprocess.run(["curl", "-s", address], capture_output=True, check=True).stdout == b'{"status":"ok"}'


def test_the_second_command_of_the_readme_runs_the_tests(served, checkout):
    _, test = section("README.md", "Quick start")

    said = checkout.run(test)

    assert re.search(r"^=+ \d+ passed", said, re.MULTILINE)


def test_the_service_passes_the_test_from_outside(served, checkout):
    (commands,) = section("README.md", "Test it from outside")

    said = checkout.run(commands.replace(ADDRESS, served))

    assert "No issues found" in said


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.page != "README.md"], ids=lambda block: block.heading
)
def test_the_commands_succeed(block, checkout):
    checkout.run(block.commands)


def test_the_recipe_builds_both_wheels(checkout):
    assert {path.name.partition("-")[0] for path in Path(checkout.folder, "dist").glob("*.whl")} == {
        "contractapp",
        "users_posts_api",
    }
