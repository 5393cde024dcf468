"""The shell commands of the project's pages, and what runs each of them."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]

# What runs the commands of a section: a file of the everyday suite, or an environment of tox.
# A command that is itself `tox -e …` is run by a workflow.
RUN_BY = {
    ("README.md", "Quick start"): "commands",
    ("README.md", "Use it"): "tests/test_readme_examples.py",
    ("README.md", "Test it from outside"): "commands",
    ("CONTRIBUTING.md", "Set up"): "commands",
    ("CONTRIBUTING.md", "Check a change"): "commands",
    ("docs/clients.md", "Retries"): "tests/test_readme_examples.py",
    ("docs/clients.md", "Python"): "sdk",
    ("docs/clients.md", "TypeScript"): "sdk",
    ("docs/clients.md", "Java"): "sdk",
    ("docs/clients.md", "Go"): "sdk",
    ("docs/clients.md", "Mock server"): "sdk",
    ("docs/clients.md", "Postman"): "sdk",
    ("docs/releasing.md", "Number and tag"): "tests/test_releasing.py",
    ("docs/releasing.md", "Build"): "commands",
    ("docs/settings.md", "Commands"): "tests/test_readme_examples.py",
    ("docs/tutorial.md", "4. The handlers"): "resource",
}


class Block(NamedTuple):
    """A block of commands, and the block that follows it at once if it shows the output."""

    page: str
    heading: str
    commands: str
    output: str

    @property
    def run_by(self) -> str | None:
        """A file of the everyday suite, an environment of tox, or `workflows`; None if nothing runs the commands."""
        if all(line.startswith("tox -e ") for line in self.commands.splitlines()):
            return "workflows"
        return RUN_BY.get((self.page, self.heading))


_BLOCK = re.compile(r"^```sh\n(.*?)^```$(?:\n\n^```\w*\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)


def blocks() -> list[Block]:
    """Every block of shell commands, in the order of the pages."""
    return [
        Block(str(page.relative_to(ROOT)), heading, *found)
        for page in PAGES
        for heading, text in _sections(page.read_text())
        for found in _BLOCK.findall(text)
    ]


def _sections(text: str) -> list[tuple[str, str]]:
    parts = re.split(r"^##+ (.+)\n", f"## \n{text}", flags=re.MULTILINE)
    return list(zip(["", *parts[1::2]], parts[0::2], strict=True))
