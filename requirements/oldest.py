"""Installs the library, or the library and the service, with the lowest versions that they declare."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "contractapp"

PROJECTS = {
    "library": (LIBRARY,),
    "service": (LIBRARY, ROOT),
}

# The test tools of the service need newer versions of these packages than the library does.
LIFTED_FOR_THE_SERVICE = {
    "jsonschema": "openapi-spec-validator pins a newer one",
    "jsonschema-rs": "schemathesis pins a newer one",
}

# The name, the extras and the lowest version; an upper bound may follow after a comma.
_DECLARED = re.compile(r"([A-Za-z0-9_-]+)(\[[a-z,]+\])?>=([0-9.]+)[^;]*(;.*)?")


def main() -> None:
    name = sys.argv[1]
    folders = PROJECTS[name]
    lifted = LIFTED_FOR_THE_SERVICE if name == "service" else {}
    wanted = [requirement for folder in folders for requirement in lowest(folder) if _name(requirement) not in lifted]
    pip = [sys.executable, "-I", "-m", "pip", "install", "--quiet"]
    editable = [f"--editable={LIBRARY}[server,test]"]
    if name == "service":
        editable.append(f"--editable={ROOT}[test]")
    subprocess.run([*pip, *editable, "hypothesis", *wanted], check=True)


def lowest(folder: Path) -> Iterator[str]:
    """The run-time dependencies of a project, the extra `server` among them, each at its lowest version."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    for line in (*project["dependencies"], *project["optional-dependencies"].get("server", ())):
        if not line.startswith("contractapp"):
            name, extras, version, marker = _DECLARED.fullmatch(line).groups(default="")
            yield f"{name}{extras}=={version}{marker}"


def _name(requirement: str) -> str:
    return re.split(r"[\[=]", requirement)[0]


if __name__ == "__main__":
    main()
