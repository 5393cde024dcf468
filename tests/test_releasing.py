"""docs/releasing.md can be followed: its commands make a commit and the tag that the changelog speaks of."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.pages import ROOT, blocks
from tools.release import ReleaseError, release

(RECIPE,) = [block.commands for block in blocks() if block.run_by == "tests/test_releasing.py"]


@pytest.fixture
def project(tmp_path):
    """A folder with the files that a release changes, and the tool."""
    for name in ("pyproject.toml", "CHANGELOG.md", "openapi/openapi.yaml", "tools/release.py"):
        copy(name, tmp_path)
    for name in ("pyproject.toml", "CHANGELOG.md"):
        copy(f"contractapp/{name}", tmp_path)
    (tmp_path / "openapi" / "releases").mkdir()
    return tmp_path


def copy(name, folder):
    """Copy a file; a changelog gets a new line, because it has none just after a release."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    text = (ROOT / name).read_text().replace("## [Unreleased]\n", "## [Unreleased]\n\n### Added\n\n- News.\n")
    (folder / name).write_text(text)


def next_number(name):
    """A number above the last of a changelog; 1.0.0 if it has none."""
    last = re.search(r"^## \[(\d+)\.(\d+)\.\d+\]", (ROOT / name).read_text(), re.MULTILINE)
    return f"{last[1]}.{int(last[2]) + 1}.0" if last else "1.0.0"


LAST = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
NEXT = next_number("CHANGELOG.md")


def git(folder, *arguments):
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def number_in(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"]


def test_the_commands_make_a_commit_with_the_tag(project):
    git(project, "init", "--quiet")
    for name, value in {"user.name": "Ann", "user.email": "ann@example.com"}.items():
        git(project, "config", name, value)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    (shown,) = re.findall(r"release service (\S+)", RECIPE)

    subprocess.run(
        ["sh", "-ec", RECIPE.replace(shown, NEXT)], cwd=project, env={**os.environ, "PATH": path}, check=True
    )

    contract = yaml.safe_load((project / "openapi" / "openapi.yaml").read_text())
    assert git(project, "describe", "--exact-match").strip() == f"v{NEXT}"
    assert git(project, "status", "--porcelain") == ""
    assert (number_in(project), contract["info"]["version"]) == (NEXT, NEXT)
    assert yaml.safe_load((project / "openapi" / "releases" / f"{NEXT}.yaml").read_text()) == contract


@pytest.mark.parametrize(
    ("distribution", "folder", "number"),
    [("service", ".", NEXT), ("library", "contractapp", next_number("contractapp/CHANGELOG.md"))],
)
def test_the_changelog_says_what_is_new_and_when(project, distribution, folder, number):
    before = (project / folder / "CHANGELOG.md").read_text()

    release(distribution, number, "2027-01-31", project)

    text = (project / folder / "CHANGELOG.md").read_text()
    assert text == before.replace("## [Unreleased]\n", f"## [Unreleased]\n\n## [{number}] - 2027-01-31\n")
    assert number_in(project / folder) == number


@pytest.mark.parametrize("number", [LAST, "0.9.9", "9.1", "v9.1.0", "one"])
def test_a_number_that_is_not_higher_changes_nothing(project, number):
    before = {path: path.read_text() for path in project.rglob("*.*") if path.is_file()}

    with pytest.raises(
        ReleaseError, match=rf"^{re.escape(number)} is not a number of three parts above {re.escape(LAST)}\.$"
    ):
        release("service", number, "2027-01-31", project)

    assert {path: path.read_text() for path in project.rglob("*.*") if path.is_file()} == before


def test_a_release_without_anything_new_is_refused(project):
    release("service", NEXT, "2027-01-31", project)

    with pytest.raises(ReleaseError, match=r"^CHANGELOG\.md has nothing new under \[Unreleased\]\.$"):
        release("service", "99.0.0", "2027-02-01", project)


def test_the_project_the_contract_and_the_changelog_have_the_same_number():
    released = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    contract = yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text())

    assert number_in(ROOT) == contract["info"]["version"] == released[0]
    assert {path.stem for path in (ROOT / "openapi" / "releases").iterdir()} == set(released)


@pytest.mark.parametrize(
    ("changelog", "tag"), [("CHANGELOG.md", "v1.0.0"), ("contractapp/CHANGELOG.md", "contractapp-v1.0.0")]
)
def test_the_changelog_speaks_of_the_tag_that_the_recipe_makes(changelog, tag):
    prefix = tag.rstrip("0123456789.")

    assert f"The tag of a version is `{prefix}` and its number, such as `{tag}`;" in (ROOT / changelog).read_text()
    assert f"`{prefix}` and the number" in (ROOT / "docs" / "releasing.md").read_text()
