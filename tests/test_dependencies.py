"""Each project declares the packages that it imports, and imports those that it declares, with listed exceptions."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent


class Part(NamedTuple):
    """Modules that are installed together, with the extras that they may import."""

    project: Path
    modules: Path
    extras: tuple[str, ...]
    without: tuple[Path, ...] = ()


LIBRARY = ROOT / "contractapp"
PACKAGES = {ROOT: "api", LIBRARY: "contractapp"}
SOURCE = LIBRARY / "src" / "contractapp"
PARTS = {
    "the service": Part(ROOT, ROOT / "api", ()),
    "the library": Part(LIBRARY, SOURCE, (), (SOURCE / "server", SOURCE / "testing")),
    "the server": Part(LIBRARY, SOURCE / "server", ("server",)),
    "the plugins": Part(LIBRARY, SOURCE / "testing", ("test",)),
}

# Packages that are declared but not imported by any module.
NOT_IMPORTED = {
    "flask-swagger-ui": "its files are served; find_spec finds them",
    "uvloop": "uvicorn uses it if it is installed",
}


def normal(distribution):
    return re.sub(r"[-_.]+", "-", distribution).lower()


def declared(part):
    """The names of the distributions that the part may import."""
    project = tomllib.loads((part.project / "pyproject.toml").read_text())["project"]
    optional = project.get("optional-dependencies", {})
    lines = [*project["dependencies"], *(line for extra in part.extras for line in optional[extra])]
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in lines}


def imported(part):
    """The distributions whose packages the part imports, also inside functions and for type checking."""
    paths = [path for path in part.modules.rglob("*.py") if not any(map(path.is_relative_to, part.without))]
    packages = {name.partition(".")[0] for path in paths for name in imports(path)}
    packages -= sys.stdlib_module_names | {PACKAGES[part.project]}
    distributions = packages_distributions()  # without projects installed from a checkout
    return {normal(distributions.get(package, [package])[0]) for package in packages}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_what_is_imported_is_declared(part):
    assert imported(part) - declared(part) == set()


@pytest.mark.parametrize("project", [ROOT, LIBRARY], ids=["the service", "the library"])
def test_what_is_declared_is_imported_or_has_its_reason(project):
    parts = [part for part in PARTS.values() if part.project == project]
    used = set().union(*map(imported, parts))
    needed = set().union(*(declared(part) for part in parts))

    assert needed - used - set(NOT_IMPORTED) == set()


def test_each_reason_is_needed():
    used = set().union(*map(imported, PARTS.values()))
    needed = set().union(*map(declared, PARTS.values()))

    assert set(NOT_IMPORTED) <= needed - used


@pytest.mark.parametrize("project", [ROOT, LIBRARY], ids=["the service", "the library"])
def test_each_dependency_has_a_lowest_version_and_a_reason(project):
    text = (project / "pyproject.toml").read_text().split("dependencies = [\n", 1)[1].split("\n]\n", 1)[0]

    assert [line for line in text.splitlines() if not re.search(r'^  "[^"]+>=[0-9][^"]*", +# \w', line)] == []
