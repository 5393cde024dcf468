"""Writes the figures of both READMEs, between comments such as `<!-- benchmark: goals -->` and `<!-- end -->`.

`python -m benchmarks.readme FILE` writes them from the results.json of a run of all parts and peers; a run without
options does so by itself.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks import report

_HERE = Path(__file__).parent
READMES = (_HERE.parent / "README.md", _HERE / "README.md")
_PART = re.compile(r"(<!-- benchmark: ([a-z]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def write(measured: dict[str, Any]) -> None:
    parts = {name: "\n".join(lines) for name, lines in report.named(measured).items()}
    for path in READMES:
        text = path.read_text()
        path.write_text(_PART.sub(lambda found: f"{found[1]}\n{parts[found[2]]}\n\n{found[3]}", text))


if __name__ == "__main__":
    write(json.loads(Path(sys.argv[1]).read_text()))
