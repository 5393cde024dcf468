"""`tox -e fuzz`: what a run must reach, and what it says about a failure; and the published configuration."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import create_engine

from tests import stored
from tests.fuzz import live
from tests.fuzz.reached import REQUESTS, SCENARIOS, Reached, links
from tests.resources import OPERATIONS, ROOT

# A service with a fault; every worker imports the script again.
BROKEN = """
from api import cli, posts, users
from api.database import read

{fault}

if __name__ == "__main__":
    cli.main()
"""
NO_EMAIL = """
from dataclasses import replace

def dump(row, dump=posts._post.dump):
    shown = dump(row)
    del shown["author"]["email"]
    return shown

posts._post = replace(posts._post, dump=dump)
"""
NO_DELETE = """
def keep(if_match, statements, parameters, row, write_if=users.write_if):
    if statements[0] is users._DELETE:
        return read(users._SELECT, parameters)[0]
    return write_if(if_match, statements, parameters, row)

users.write_if = keep
"""


BLOCK = r"^# \d+\. (.+?): .*\n# On an empty .*\n((?:curl .*\n)+)"


def everything():
    """What a run reached that reached exactly the least."""
    reached = Reached(Counter(), Counter())
    labels = [f"{operation.method} {operation.path}" for operation in OPERATIONS.values()]
    requests = {phase: dict.fromkeys(labels, REQUESTS) for phase in ("examples", "coverage", "fuzzing")}
    reached.add({"requests": requests, "links": dict.fromkeys(links(), SCENARIOS)})
    return reached


def test_a_run_that_reached_the_least_lacks_nothing():
    assert [*everything().missing_requests(), *everything().missing_links()] == []


@pytest.mark.parametrize(
    ("phase", "label", "sent", "least"),
    [("examples", "POST /users", 1, 1), ("coverage", "GET /health/live", 1, 1), ("fuzzing", "GET /users", 20, 20)],
)
def test_too_few_requests_are_named(phase, label, sent, least):
    reached = everything()
    reached.requests[phase, label] = sent - 1

    assert list(reached.missing_requests()) == [f"{phase}: {label} ({sent - 1} of {least} requests)"]


def test_a_link_that_was_followed_too_seldom_is_named():
    reached = everything()
    reached.links["POST /users -> [201] delete_user"] -= 1

    assert list(reached.missing_links()) == ["stateful: POST /users -> [201] delete_user (4 of 5 scenarios)"]


@pytest.fixture
def broken(tmp_path):
    """The command of a service with a fault."""

    def broken(fault):
        script = tmp_path / "broken.py"
        script.write_text(BROKEN.format(fault=fault))
        return (sys.executable, "-W", "ignore", str(script), "serve")

    return broken


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_a_failure_says_why_and_can_be_repeated(tmp_path, broken, capsys):
    command, url = broken(NO_EMAIL), f"sqlite:///{tmp_path}/api.db"
    with live.serving(command, url, tmp_path, tmp_path / "fuzz-server.log") as base:
        run = live.Run(base, url, tmp_path, tmp_path, seed=1)
        run._send("--phases=examples", "--exclude-method=GET")
        status = run._report()
    printed, report = capsys.readouterr().out, ET.parse(tmp_path / "fuzz.xml")

    assert status == 1
    assert "Not reached: coverage: GET /users (0 of 1 requests)" in printed
    assert printed.splitlines()[-1].startswith("FAILED: 2 failures")
    for text in (
        printed,
        *(failure.text for failure in report.iter("failure") if failure.get("message") != "not reached"),
    ):
        assert "/author/email is required" in text
        assert "Swagger UI" not in text  # what the server logged before the request
        assert "st replay" not in text
        assert str(tmp_path) not in text
        assert base not in text
    assert repeated(command, tmp_path)["POST /posts"].endswith("500")


def repeated(command, folder):
    """The operation of each failure in `fuzz-curl.txt`, and what the last of its commands prints, with the status."""
    printed = {}
    blocks = re.findall(BLOCK, (folder / "fuzz-curl.txt").read_text(), re.MULTILINE)
    for number, (operation, lines) in enumerate(blocks):
        with live.serving(command, f"sqlite:///{folder}/again-{number}.db", folder, folder / "again.log") as base:
            for line in lines.replace(live.SHOWN, base).splitlines():
                done = subprocess.run(
                    ["sh", "-c", f"{line} -s -w '%{{http_code}}'"], capture_output=True, text=True, check=True
                )
        printed[operation] = done.stdout
    return printed


def test_nothing_sent_is_no_success(tmp_path, capsys):
    status = live.Run("http://127.0.0.1:1", "sqlite://", tmp_path, tmp_path, seed=1)._report()

    assert status == 1
    assert capsys.readouterr().out.splitlines()[-1] == "FAILED: no failure was found, but not everything was reached."
    assert "POST /users" in ET.parse(tmp_path / "fuzz.xml").find(".//failure").text


@pytest.fixture
def published(tmp_path):
    """Runs the command that the documentation shows, in a folder with the two files that a stranger copies."""
    (tmp_path / "stranger" / "tests" / "fuzz").mkdir(parents=True)
    for name in ("schemathesis.toml", "tests/fuzz/hooks.py"):
        shutil.copy(ROOT / name, tmp_path / "stranger" / name)

    def published(command, *options):
        url = f"sqlite:///{tmp_path}/api.db"
        with live.serving(command, url, tmp_path, tmp_path / "log") as base:
            with create_engine(url).begin() as connection:
                stored.store(connection)  # the examples of the contract have the id 1
            program = [Path(sys.executable).with_name("schemathesis"), "run", f"{base}/api/openapi.json", *options]
            return subprocess.run(program, cwd=tmp_path / "stranger", capture_output=True, text=True, check=False)

    return published


def test_the_published_configuration_reports_nothing_about_a_good_service(published):
    done = published(live.SERVE, "--max-examples=5")  # `live.py` sends more

    assert "No issues found" in done.stdout, done.stdout
    assert done.returncode == 0


def test_the_published_configuration_finds_a_delete_that_deletes_nothing(published, broken):
    done = published(broken(NO_DELETE), "--phases=examples", "--include-method=DELETE")

    assert "What was deleted is still there" in done.stdout, done.stdout
    assert done.returncode == 1
