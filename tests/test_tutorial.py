"""docs/tutorial.md can be followed exactly, and touches only the places that the README lists.

`tox -e resource` checks that the resulting project works.
"""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tools.tutorial import TUTORIAL, TutorialError, count, edits

ROOT = Path(__file__).parent.parent
EDITS = edits(TUTORIAL.read_text())
NEW = [edit.path for edit in EDITS if edit.how == "new"]

pytestmark = pytest.mark.skipif(any((ROOT / path).exists() for path in NEW), reason="the tutorial was followed here")


@pytest.fixture
def project(tmp_path):
    """The files that the tutorial changes, and the folders of those that it adds."""
    for edit in EDITS:
        copy = tmp_path / edit.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / edit.path).exists():
            shutil.copy(ROOT / edit.path, copy)
    return tmp_path


def places():
    """The places that the README lists, as patterns: a folder stands for its files, `<tag>` for the name of a file."""
    section = (ROOT / "README.md").read_text().split("\n## Add a resource\n", 1)[1].split("\n## ", 1)[0]
    steps = "\n".join(line for line in section.splitlines() if re.match(r"\d\. ", line))
    for place in re.findall(r"`([\w./<>]+\.\w+|[\w./]+/)`", steps):
        yield re.escape(place).replace("<tag>", r"\w+") + (r"\w+\.py" if place.endswith("/") else "")


def test_it_touches_every_place_that_the_readme_lists_and_no_other():
    touched = {edit.path for edit in EDITS}

    listed = {place: {path for path in touched if re.fullmatch(place, path)} for place in places()}

    assert set().union(*listed.values()) == touched
    assert [place for place, found in listed.items() if not found] == []


def test_it_can_be_followed(project):
    for edit in EDITS:
        edit.apply(project)

    paths = yaml.safe_load((project / "openapi/openapi.yaml").read_text())["paths"]
    assert list(paths["/comments"]) == ["get", "post"]
    assert [path for path in NEW if not (project / path).read_text().startswith('"""')] == []


def test_a_missing_line_is_named(project):
    edit = next(edit for edit in EDITS if edit.how == "below")
    path = project / edit.path
    path.write_text(path.read_text().replace(edit.line, ""))

    with pytest.raises(TutorialError, match=f"^{edit.path} has the line .* 0 times, not once.$"):
        edit.apply(project)


def test_a_new_file_does_not_replace_an_existing_file(project):
    edit = next(edit for edit in EDITS if edit.how == "new")
    edit.apply(project)

    with pytest.raises(TutorialError, match="is there already"):
        edit.apply(project)


def test_a_block_without_a_place_is_named():
    with pytest.raises(TutorialError, match=r"^The block after 'Somewhere:' does not say where it goes\.$"):
        edits("Somewhere:\n\n```python\npass\n```\n")


@pytest.mark.parametrize(
    ("place", "before", "after"),
    [
        ("In the new file `b.py`:", None, "x\n"),
        ("At the end of `b.py`:", "1\n2\n", "1\n2\nx\n"),
        ("At the end of `b.py`, after two blank lines:", "1\n2\n", "1\n2\n\n\nx\n"),
        ("In `b.py`, above the line `2`:", "1\n  2\n3\n", "1\nx\n  2\n3\n"),
        ("In `b.py`, above the line `2`, followed by a blank line:", "1\n2\n", "1\nx\n\n2\n"),
        ("In `b.py`, below the line `2`:", "1\n2\n3\n", "1\n2\nx\n3\n"),
        ("In `b.py`, below the line `` `2` ``:", "1\n`2`\n3\n", "1\n`2`\nx\n3\n"),
        ("In `b.py`, in place of the line `2`:", "1\n2\n3\n", "1\nx\n3\n"),
    ],
)
def test_a_block_goes_where_the_line_before_it_says(place, before, after, tmp_path):
    if before is not None:
        (tmp_path / "b.py").write_text(before)
    (edit,) = edits(f"Some words.\n\n{place}\n\n```python\nx\n```\n")

    edit.apply(tmp_path)

    assert (tmp_path / "b.py").read_text() == after


def test_files_and_lines_are_counted():
    text = "In the new file `api/a.py`:\n\n```python\n1\n2\n```\n\nAt the end of `openapi/b.yaml`:\n\n```yaml\n3\n```\n"

    assert count(edits(text)) == "2 files, 3 lines (contract: 1 file, 1 line; code: 1 file, 2 lines)"
