"""Regenerates the pinned and hashed requirements in this folder, without the address of an index."""

import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent

FILES = {
    "run.txt": (),
    "test.txt": ("test",),
    "lint.txt": ("test", "lint"),
    "browser.txt": ("test", "browser"),
    "sdk.txt": ("test", "sdk"),
    "bench.txt": ("bench",),
}

QUIET = ("--quiet", "--generate-hashes", "--allow-unsafe", "--no-strip-extras", "--resolver=backtracking")
NO_INDEX = ("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--no-header", "--no-annotate")


def main() -> None:
    for name, extras in FILES.items():
        subprocess.run(
            [
                sys.executable,
                "-m",
                "piptools",
                "compile",
                *QUIET,
                *NO_INDEX,
                f"--output-file=requirements/{name}",
                "-",
            ],
            cwd=ROOT,
            check=True,
            text=True,
            input="\n".join(needed(extras)),
        )


def needed(extras: Iterable[str]) -> Iterator[str]:
    """The requirements of the service and the library, without the library: both are installed from this checkout."""
    for folder in (ROOT, ROOT / "contractapp"):
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        optional = project["optional-dependencies"]
        wanted = [*project["dependencies"], *(line for extra in extras for line in optional.get(extra, ()))]
        yield from (line for line in wanted if not line.startswith("contractapp"))
        yield from optional.get("server", ())


if __name__ == "__main__":
    main()
