"""Follows `docs/tutorial.md` on a copy of the project and runs all checks there (`tox -e resource`).

The line before a code block says where the block goes. Nothing else is changed in the copy: if the suite passes there,
a new resource needs changes only at the places that the tutorial names.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
README_ADDRESS = "http://127.0.0.1:8000"

# A code block with its language, and the last line of text before it.
_BLOCK = re.compile(r"^(?P<before>[^\n]+)\n\n```(?P<language>\w+)\n(?P<content>.*?)^```$", re.MULTILINE | re.DOTALL)
_PATH, _LINE = r"`(?P<path>[^`]+)`", r"the line (?P<ticks>`+) ?(?P<line>.+?) ?(?P=ticks)"
_PLACES = {
    "new": re.compile(rf"In the new file {_PATH}:"),
    "end": re.compile(rf"At the end of {_PATH}(?:, after (?P<after>.+))?:"),
    "above": re.compile(rf"In {_PATH}, above {_LINE}(?:, followed by (?P<followed>.+))?:"),
    "below": re.compile(rf"In {_PATH}, below {_LINE}(?:, after (?P<after>.+))?:"),
    "instead": re.compile(rf"In {_PATH}, in place of {_LINE}:"),
}
_BLANK = {None: "", "a blank line": "\n", "two blank lines": "\n\n"}

# The commands to run in the copy: a name, the command, and the database of the tests.
_COMMANDS = (
    ("style", ["-m", "ruff", "check"], ""),
    ("format", ["-m", "ruff", "format", "--check"], ""),
    ("types", ["-m", "mypy"], ""),
    ("OpenAPI", ["-m", "openapi_spec_validator", "openapi/openapi.yaml"], ""),
    ("compatibility", ["-W", "ignore", "-m", "contractapp.compat", "openapi/releases", "openapi/openapi.yaml"], ""),
    ("suite on SQLite", ["-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"], "sqlite"),
    ("suite on PostgreSQL", ["-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"], "postgresql"),
)


class TutorialError(Exception):
    """A code block that cannot be placed; the message is one sentence that names it."""


class Edit(NamedTuple):
    """A code block of the tutorial, with its place."""

    how: str
    path: str
    line: str
    content: str

    def apply(self, root: Path) -> None:
        """Make the edit in the project at `root`. Raises `TutorialError` if that is not possible."""
        path = root / self.path
        if path.exists() is (self.how == "new"):
            raise TutorialError(f"{self.path} {'is there already' if self.how == 'new' else 'is not there'}.")
        if self.how == "new":
            path.write_text(self.content)
        elif self.how == "end":
            path.write_text(path.read_text() + self.content)
        else:
            self._apply_at_line(path)

    def _apply_at_line(self, path: Path) -> None:
        lines = path.read_text().splitlines(keepends=True)
        found = [number for number, line in enumerate(lines) if line.strip() == self.line]
        if len(found) != 1:
            raise TutorialError(f"{self.path} has the line {self.line!r} {len(found)} times, not once.")
        first = found[0] + (self.how == "below")
        last = first + (self.how == "instead")
        path.write_text("".join([*lines[:first], self.content, *lines[last:]]))


def edits(text: str) -> list[Edit]:
    """The edits of a tutorial. Raises `TutorialError` for a code block without a place that is not a shell command."""
    return [edit for match in _BLOCK.finditer(text) for edit in _edit(**match.groupdict())]


def _edit(before: str, language: str, content: str) -> Iterator[Edit]:
    if language == "sh":
        return
    for how, pattern in _PLACES.items():
        if found := pattern.fullmatch(before):
            parts = found.groupdict()
            separated = _BLANK[parts.get("after")] + content + _BLANK[parts.get("followed")]
            yield Edit(how, parts["path"], parts.get("line", ""), separated)
            return
    raise TutorialError(f"The block after {before!r} does not say where it goes.")


def copy_project(target: Path) -> None:
    """Copy the files of the checkout that git tracks or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, copy = ROOT / name, target / name
        if source.is_file():  # not deleted from the working tree
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
            copy.chmod(source.stat().st_mode)


def count(found: list[Edit]) -> str:
    """The number of files and lines of the resource, by kind of file."""
    kinds: dict[str, list[Edit]] = {"contract": [], "code": [], "tests": [], "changelog": []}
    for edit in found:
        first = edit.path.partition("/")[0]
        kinds[{"openapi": "contract", "api": "code", "tests": "tests"}.get(first, "changelog")].append(edit)
    parts = (f"{kind}: {_sizes(of_kind)}" for kind, of_kind in kinds.items() if of_kind)
    return f"{_sizes(found)} ({'; '.join(parts)})"


def _sizes(found: list[Edit]) -> str:
    files, lines = len({edit.path for edit in found}), sum(edit.content.count("\n") for edit in found)
    return f"{files} file{'s' * (files != 1)}, {lines} line{'s' * (lines != 1)}"


def main() -> int:
    found = edits(TUTORIAL.read_text())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / "project"
        copy_project(copy)
        for edit in found:
            edit.apply(copy)
        failed = [name for name, command, database in _COMMANDS if not _passes(copy, name, command, database)]
        failed += [] if _answers(copy) else ["the command of the tutorial"]
    print(f"\nThe resource of the tutorial is {count(found)}.")
    print(f"Failed: {', '.join(failed)}." if failed else "Everything passed, with no other edit.")
    return int(bool(failed))


def _passes(copy: Path, name: str, command: list[str], database: str) -> bool:
    print(f"\n== {name}", flush=True)
    environment = {**_environment(copy), "TEST_DATABASE": database or "sqlite"}
    return subprocess.run([sys.executable, *command], cwd=copy, env=environment, check=False).returncode == 0


def _answers(copy: Path) -> bool:
    """Whether the shell commands of the tutorial succeed with the service of the copy and a user with a post."""
    print("\n== the command of the tutorial", flush=True)
    api = [sys.executable, "-m", "api"]
    environment = {**_environment(copy), "DATABASE_URL": f"sqlite:///{copy}/tutorial.db"}
    command = [*api, "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=copy, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        address = next((line.split()[2].rstrip(",") for line in server.stdout if line.startswith("Serving on ")), "")
        subprocess.run([*api, "seed", "--users", "1", "--posts", "1"], cwd=copy, env=environment, check=True)
        said = [
            subprocess.run(["sh", "-ec", block.replace(README_ADDRESS, address)], capture_output=True, check=False)
            for block in commands(TUTORIAL.read_text())
        ]
        server.terminate()
    print(*(done.stdout.decode() for done in said))
    return bool(said) and all(done.returncode == 0 and b'"id":' in done.stdout for done in said)


def commands(text: str) -> list[str]:
    """The blocks of shell commands of a tutorial."""
    return [match["content"] for match in _BLOCK.finditer(text) if match["language"] == "sh"]


def _environment(copy: Path) -> dict[str, str]:
    """The environment in which the packages of the copy take precedence over those that are installed."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (copy, copy / "contractapp" / "src")))}


if __name__ == "__main__":
    sys.exit(main())
