"""Writes the badges of the README as SVG files, from what the project declares; a test compares them.

A badge of a service would need a server, and could say something about another state of the project than this one.
"""

import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

from contractapp.compile.document import read_document

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "images"

_CHARACTER, _PADDING, _HEIGHT = 6.6, 12, 20  # pixels; a character of 11 px Verdana is about 6.6 wide


def badges() -> dict[Path, str]:
    """The SVG document of each badge, by its file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    contract = read_document(ROOT / "openapi" / "openapi.yaml")
    texts = {
        "python": ("Python", f"{project['requires-python'].removeprefix('>=')} or later"),
        "openapi": ("OpenAPI", contract["openapi"]),
        "license": ("License", project["license"]),
    }
    return {FOLDER / f"{name}.svg": _badge(*parts) for name, parts in texts.items()}


def _badge(label: str, value: str) -> str:
    left, right = (round(len(text) * _CHARACTER + _PADDING) for text in (label, value))
    alt = escape(f"{label}: {value}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{_HEIGHT}" role="img">'
        f"<title>{alt}</title>"
        f'<rect width="{left + right}" height="{_HEIGHT}" rx="3" fill="#0b5f9e"/>'
        f'<path d="M3 0h{left - 3}v{_HEIGHT}h-{left - 3}a3 3 0 0 1-3-3v-{_HEIGHT - 6}a3 3 0 0 1 3-3z" fill="#444c56"/>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana, DejaVu Sans, sans-serif" font-size="11">'
        f'<text x="{left / 2:g}" y="14">{escape(label)}</text>'
        f'<text x="{left + right / 2:g}" y="14">{escape(value)}</text>'
        "</g></svg>\n"
    )


if __name__ == "__main__":
    for path, text in badges().items():
        path.write_text(text, "utf-8")
