"""The workflows run what `.ci/run` and a laptop run, with pinned actions and only the permissions that they need."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}
TOX = configparser.ConfigParser(interpolation=None)
TOX.read(ROOT / "tox.ini")
ENVIRONMENTS = {name.partition(":")[2] for name in TOX.sections() if ":" in name} | {"py311", "py312", "py313"}

# Environments that need not be in a workflow.
BY_HAND = {
    "lock": "writes the requirements anew",
    "bench": "a shared machine measures nothing",
    "browser": "needs Debian's Chromium",
}


def environments(workflow):
    return {
        row["environment"]
        for job in WORKFLOWS[workflow]["jobs"].values()
        for row in job["strategy"]["matrix"]["include"]
    }


def steps(workflow):
    return [step for job in WORKFLOWS[workflow]["jobs"].values() for step in job["steps"]]


def test_every_push_runs_what_ci_run_runs_and_tox_by_default():
    asked = re.search(r"tox run -q -e (\S+)", (ROOT / ".ci" / "run").read_text())[1].split(",")
    default = {"lint", "types", "contract", "py311", "py312", "py313", "postgres", "coverage", "wheel"}

    assert (
        set(re.findall(r"[a-z0-9]+", TOX["tox"]["env_list"].replace("py{311,312,313}", "py311, py312, py313")))
        == default
    )
    assert {*asked, *default, "fuzz"} <= environments("ci")


def test_every_environment_has_a_workflow_or_a_reason():
    run = environments("ci") | environments("weekly")

    assert run <= ENVIRONMENTS
    assert ENVIRONMENTS - run <= set(BY_HAND)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_command_is_one_that_a_laptop_runs(name):
    commands = [step["run"] for step in steps(name) if "run" in step]

    # The last command installs Debian packages: the tests of two environments may not install packages themselves.
    known = ("python -m pip install 'tox", "tox run -e ${{ matrix.", "sudo apt-get update ")
    assert all(command.startswith(known) for command in commands)


def test_the_clients_of_every_run_are_kept():
    (kept,) = [step for step in steps("ci") if step.get("with", {}).get("name") == "clients"]

    assert kept["uses"].startswith("actions/upload-artifact@")
    assert kept["with"]["path"].split() == ["clients", "!clients/**/node_modules"]
    assert kept["if"] == "matrix.environment == 'sdk'"
    assert "sdk" in environments("ci")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_hash(name):
    used = [step["uses"] for step in steps(name) if "uses" in step]

    assert used
    assert [action for action in used if not re.fullmatch(r"[a-z/-]+@[0-9a-f]{40}", action)] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_read_the_code_and_nothing_else(name):
    workflow = WORKFLOWS[name]
    checkouts = [step for step in steps(name) if step.get("uses", "").startswith("actions/checkout@")]

    assert workflow["permissions"] == {}
    assert {str(job["permissions"]) for job in workflow["jobs"].values()} == {"{'contents': 'read'}"}
    assert "pull_request_target" not in workflow[True]  # YAML 1.1 reads the key `on` as true
    assert [step["with"]["persist-credentials"] for step in checkouts] == [False] * len(workflow["jobs"])
