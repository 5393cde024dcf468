"""Writes the pinned, hashed requirements of this folder anew; names no index."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent

FILES = {
    "run.txt": ["pyproject.toml"],
    "test.txt": ["pyproject.toml", "--extra=test"],
    "lint.txt": ["pyproject.toml", "--extra=test", "--extra=lint"],
    "browser.txt": ["pyproject.toml", "--extra=test", "--extra=browser"],
    "sdk.txt": ["pyproject.toml", "--extra=test", "--extra=sdk"],
    "bench.txt": ["pyproject.toml", "--extra=bench"],
}

QUIET = ("--quiet", "--generate-hashes", "--allow-unsafe", "--no-strip-extras", "--resolver=backtracking")
NO_INDEX = ("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--no-header", "--no-annotate")


def main() -> None:
    for name, source in FILES.items():
        subprocess.run(
            [
                sys.executable,
                "-m",
                "piptools",
                "compile",
                *QUIET,
                *NO_INDEX,
                f"--output-file=requirements/{name}",
                *source,
            ],
            cwd=ROOT,
            check=True,
        )


if __name__ == "__main__":
    main()
