"""`python -m tools.release service 1.1.0`: gives the service or the library a new number, as docs/releasing.md says."""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = {"service": ".", "library": "contractapp"}

_NUMBER = re.compile(r"\d+\.\d+\.\d+")
_PROJECT_VERSION = re.compile(r'(?<=^version = ")[^"]+', re.MULTILINE)
_CONTRACT_VERSION = re.compile(r"(?<=^  version: )\S+", re.MULTILINE)
_UNRELEASED = "## [Unreleased]\n"


class ReleaseError(Exception):
    """A release that cannot be made; the message is one sentence."""


def release(distribution: str, number: str, date: str, root: Path = ROOT) -> None:
    """Write the number and the date into the project's files; a refused release changes nothing.

    Raises:
        ReleaseError: The number is not higher than the present one, or the changelog has nothing new.
    """
    folder = root / FOLDERS[distribution]
    project, changelog, contract = folder / "pyproject.toml", folder / "CHANGELOG.md", root / "openapi" / "openapi.yaml"
    written = {
        project: _numbered(project, _PROJECT_VERSION, number),
        changelog: _dated(changelog, number, date),
    }
    if distribution == "service":
        written[contract] = _numbered(contract, _CONTRACT_VERSION, number)
        written[root / "openapi" / "releases" / f"{number}.yaml"] = written[contract]
    for path, text in written.items():
        path.write_text(text, "utf-8")


def _numbered(path: Path, version: re.Pattern[str], number: str) -> str:
    return version.sub(number, path.read_text("utf-8"), count=1)


def _dated(path: Path, number: str, date: str) -> str:
    """The changelog with its new lines under the number. The first number of a changelog may be any."""
    text = path.read_text("utf-8")
    before, _, rest = text.partition(_UNRELEASED)
    new = rest.partition("\n## [")[0]
    if not re.search(r"^- ", new, re.MULTILINE):
        raise ReleaseError(f"{path.name} has nothing new under [Unreleased].")
    last = re.search(r"^## \[(\d+\.\d+\.\d+)\]", rest, re.MULTILINE)
    if not _NUMBER.fullmatch(number) or (last and _parts(number) <= _parts(last[1])):
        raise ReleaseError(f"{number} is not a number of three parts above {last[1] if last else '0.0.0'}.")
    return f"{before}{_UNRELEASED}\n## [{number}] - {date}\n{rest}"


def _parts(number: str) -> list[int]:
    return [int(part) for part in number.split(".")]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(prog="tools.release", description="Give the service or the library a new number.")
    parser.add_argument("distribution", choices=FOLDERS)
    parser.add_argument("number", help="such as 1.1.0")
    given = parser.parse_args(arguments)
    try:
        release(given.distribution, given.number, f"{datetime.now(UTC):%Y-%m-%d}")
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
