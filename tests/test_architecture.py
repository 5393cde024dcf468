"""docs/architecture.md shows the imports as they are in the code, and names only parts that exist."""

import re

import pytest

from tools.architecture import PACKAGES, PAGE, ROOT, drawn, part_of

TEXT = PAGE.read_text()


def test_the_drawing_is_that_of_the_imports():
    assert drawn(TEXT) == TEXT, "run: python tools/architecture.py"


def test_every_part_is_in_a_table():
    folders = [folder for folder, _ in PACKAGES.values()]
    parts = {
        part_of(folder, path)
        for folder in folders
        for path in folder.rglob("*.py")
        if not path.relative_to(folder).parts[0].startswith("__")
    }

    described = {
        name.rpartition("/")[2].partition(".")[0]
        for row in re.findall(r"^\| (`[^|]+) \|", TEXT, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    }

    assert described == parts | {"openapi"}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\b((?:server|asgi|serve|compile)\.\w+)", TEXT))))
def test_a_module_on_the_way_of_a_request_exists(name):
    library, _ = PACKAGES["contractapp"]

    assert (library / name.replace(".", "/")).with_suffix(".py").exists(), ROOT
