"""docs/reference.md agrees with the docstrings of the library and has every public name."""

import importlib

import pytest

from tools import reference


def test_the_page_is_up_to_date():
    assert reference.PAGE.read_text() == reference.page(), "run `python tools/reference.py`"


def test_every_public_name_is_on_the_page():
    text = reference.PAGE.read_text()
    lists = {name: getattr(importlib.import_module(name), "__all__", []) for name in reference.MODULES}
    public = {name: names for name, names in lists.items() if not name.startswith("contractapp.testing")}

    assert set(public) == {"contractapp", "contractapp.server", "contractapp.compat"}
    assert [name for names in public.values() for name in names if f"### `{name}`\n" not in text] == []


@pytest.mark.parametrize("name", ["contractapp.Workers", "contractapp.ContractApp.add_api", "contractapp.server.serve"])
def test_a_public_name_without_a_docstring_is_refused(name, monkeypatch):
    monkeypatch.setattr(f"{name}.__doc__", None)

    with pytest.raises(
        ValueError, match=rf"^{name.removeprefix('contractapp.').removeprefix('server.')} has no docstring"
    ):
        reference.page()
