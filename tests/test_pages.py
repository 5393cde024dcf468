"""A test runs every shell command of the README and of the pages in docs/."""

import re

import pytest
import yaml

from api.cli import main
from tests.pages import PAGES, ROOT, RUN_BY, blocks
from tests.test_ci import BY_HAND, ENVIRONMENTS, environments


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"{block.page} {block.heading}")
def test_something_runs_the_commands(block):
    runner = block.run_by

    assert runner, f"{block.page} has commands under {block.heading!r} that nothing runs: see RUN_BY in tests/pages.py"
    if runner == "workflows":
        assert [line for line in block.commands.splitlines() if not is_run_by_a_workflow(line)] == []
    elif runner.endswith(".py"):
        assert (ROOT / runner).exists()
    else:
        assert runner in environments("ci") | environments("weekly")


def is_run_by_a_workflow(line):
    """Whether a workflow runs this environment of tox, with the same options if the line has any."""
    environment, _, arguments = line.removeprefix("tox -e ").partition(" -- ")
    options = {word for word in arguments.split() if word.startswith("-")}
    rows = [
        row
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        for row in job["strategy"]["matrix"]["include"]
        if row["environment"] == environment
    ]
    by_hand = environment in ENVIRONMENTS & set(BY_HAND) and not options
    return by_hand or any(options <= set(row.get("arguments", "").split()) for row in rows)


def test_every_section_with_a_runner_has_commands():
    assert set(RUN_BY) - {(block.page, block.heading) for block in blocks()} == set()


def test_a_command_in_a_sentence_names_something_that_is_there():
    sentences = "".join(re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE) for page in PAGES)

    named = {
        "tox": set(re.findall(r"`tox -e ([a-z0-9]+)", sentences)),
        "api": set(re.findall(r"`api ([a-z]+)", sentences)),
        "tools": set(re.findall(r"`python (?:-m tools\.|tools/)([a-z]+)", sentences)),
    }

    assert min(map(len, named.values())) >= 3
    assert named["tox"] - ENVIRONMENTS == set()
    assert named["api"] - set(main.commands) == set()
    assert {tool for tool in named["tools"] if not (ROOT / "tools" / f"{tool}.py").exists()} == set()
