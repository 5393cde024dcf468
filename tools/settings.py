"""Writes the table of docs/settings.md: every setting with its default and meaning, as `api/config.py` declares them.

A test compares the page with the output of this tool.
"""

from dataclasses import Field
from pathlib import Path
from typing import Any

from api.config import settings_fields

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
BEGIN, END = "<!-- settings -->\n", "<!-- /settings -->\n"


def page(text: str) -> str:
    """The page with the table in place of what stood between the two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = ["| Name | Default | Meaning |", "| --- | --- | --- |", *map(_row, settings_fields())]
    return before + BEGIN + "\n".join(lines) + "\n" + END + after


def _row(field: Field[Any]) -> str:
    return f"| `{field.metadata['name']}` | {_default(field)} | {field.metadata['description']} |"


def _default(field: Field[Any]) -> str:
    shown = field.metadata["shown_default"]
    if shown is not None:
        return str(shown)
    if field.default in {None, ()}:
        return ""
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
