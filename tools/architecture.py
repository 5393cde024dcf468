"""Draws the modules of the project and their imports into docs/architecture.md (`python tools/architecture.py`).

A test compares the page with the output of this tool, so that the picture cannot become outdated.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- drawn from the imports by tools/architecture.py -->\n", "<!-- end of the drawing -->"

CONTRACT = yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text())
# The modules of handlers whose tag of the contract can be created: one part, whichever resources there are.
RESOURCES = {
    operation["tags"][0]
    for item in CONTRACT["paths"].values()
    for operation in item.values()
    if "operationId" in operation and operation["operationId"].startswith("create_")
}

# Each distribution: the folder of its package, and modules left out because they only re-export names of others.
PACKAGES = {
    "api": (ROOT / "api", {"__init__", "__main__"}),
    "contractapp": (ROOT / "contractapp/src/contractapp", set()),
}

Edge = tuple[str, str]


def drawing() -> str:
    """A Mermaid flowchart: a box for each module or package, and an arrow to each one that it imports.

    An arrow is left out if a path of other arrows leads to the same box.
    """
    lines = ["```mermaid", "flowchart TD"]
    for package, (folder, left_out) in PACKAGES.items():
        parts = sorted({part_of(folder, path) for path in folder.rglob("*.py")} - left_out - {"__init__"})
        lines += [f"  subgraph {package}", *(f"    {package}_{part}[{part}]" for part in parts), "  end"]
        edges = {(a, b) for a, b in _imports(package, folder) if a in parts and b in parts}
        lines += [f"  {package}_{a} --> {package}_{b}" for a, b in sorted(_reduced(edges))]
    return "\n".join([*lines, "  api --> contractapp", "```", ""])


def drawn(page: str) -> str:
    """The page with the current drawing."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + drawing() + END + rest.partition(END)[2]


def part_of(folder: Path, path: Path) -> str:
    """The part that a module belongs to."""
    return _named(path.relative_to(folder).with_suffix("").parts[0])


def _named(module: str) -> str:
    return "resource" if module in RESOURCES else module


def _imports(package: str, folder: Path) -> Iterator[Edge]:
    reexports = _reexports(package, folder)
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            top, _, rest = node.module.partition(".")
            if top != package:
                continue
            for name in [rest] if rest else [alias.name for alias in node.names]:
                imported = _named(reexports.get(name, name).partition(".")[0])
                if imported != part_of(folder, path):
                    yield part_of(folder, path), imported


def _reexports(package: str, folder: Path) -> dict[str, str]:
    """For each name that the package re-exports, its module, without the name of the package."""
    tree = ast.parse((folder / "__init__.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {
        alias.name: str(node.module).removeprefix(f"{package}.")
        for node in imports
        if str(node.module).startswith(f"{package}.")
        for alias in node.names
    }


def _reduced(edges: set[Edge]) -> set[Edge]:
    """The transitive reduction of the edges; the graph has no cycles."""

    def reachable(start: str) -> set[str]:
        below = {b for a, b in edges if a == start}
        return below.union(*(reachable(part) for part in below))

    return {(a, b) for a, b in edges if not any(b in reachable(c) for x, c in edges if x == a and c != b)}


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
