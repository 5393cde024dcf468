"""An SVG chart of the CPU per request: one panel for each operation, one bar for each server, shorter is better."""

from collections.abc import Iterable
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.figures import DATABASES, ELSEWHERE, MODE_TITLES, TITLES, Figures

_SHOWN = ("liveness", "get", "users", "posts", "create", "invalid")
_LABEL, _BAR, _GAP, _PANEL, _COLUMNS = 150, 15, 5, 420, 2
_COLOURS = {"ours": "ours", "limit": "limit", **dict.fromkeys(ELSEWHERE, "elsewhere")}  # the others: peer
_STYLE = """
svg { background: #fff; font: 12px system-ui, sans-serif }
text { fill: #24292f } .small { fill: #57606a; font-size: 11px } .title { font-weight: 600; font-size: 13px }
.ours { fill: #1a7f37 } .peer { fill: #a9b4c0 } .elsewhere { fill: #7a9cc6 }
.limit { fill: none; stroke: #57606a; stroke-dasharray: 3 2 }
.bold { font-weight: 600 }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117 } text { fill: #e6edf3 } .small { fill: #9198a1 }
  .ours { fill: #3fb950 } .peer { fill: #59636e } .elsewhere { fill: #3f6a9c }
  .limit { stroke: #9198a1 }
}
"""


def chart(measured: dict[str, Any]) -> str:
    """The chart for the first mode, database and number of connections."""
    figures = Figures(measured)
    mode, database, connections = figures.modes[0], figures.databases[0], figures.connections[0]
    shown = [name for name in _SHOWN if name in figures.operations]
    height_of_panel = 30 + len(figures.servers) * (_BAR + _GAP) + 14
    rows = -(-len(shown) // _COLUMNS)
    width, height = _COLUMNS * _PANEL + 20, 46 + rows * height_of_panel
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="CPU time per request of each framework">'
        ),
        f"<style>{_STYLE}</style>",
        '<text class="title" x="12" y="22">Server CPU per request, µs (shorter is better)</text>',
        (
            f'<text class="small" x="12" y="38">{DATABASES[database]}, {connections} connections, {MODE_TITLES[mode]}, '
            "same data, JSON and durability</text>"
        ),
    ]
    for number, operation in enumerate(shown):
        left = 12 + number % _COLUMNS * _PANEL
        top = 46 + number // _COLUMNS * height_of_panel
        parts += _panel(figures, (mode, database, connections, operation), left, top)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(figures: Figures, turn: tuple[str, str, int, str], left: int, top: int) -> Iterable[str]:
    values = {name: figures.value("cpu_us", *turn, name) for name in figures.servers}
    room = _PANEL - _LABEL - 70
    yield f'<text class="title" x="{left}" y="{top + 18}">{escape(TITLES[turn[-1]])}</text>'
    for place, name in enumerate(sorted(values, key=lambda name: values[name])):
        server = figures.servers[name]
        y = top + 28 + place * (_BAR + _GAP)
        length = max(values[name] / max(values.values()) * room, 1)
        bold = " bold" if server["kind"] == "ours" else ""
        yield f'<text class="small{bold}" x="{left}" y="{y + 12}">{escape(server["title"])}</text>'
        yield (
            f'<rect class="{_COLOURS.get(server["kind"], "peer")}" x="{left + _LABEL}" y="{y}" width="{length:.1f}" '
            f'height="{_BAR}" rx="2"/>'
        )
        right = f"{left + _LABEL + length + 6:.1f}"
        yield f'<text class="{bold.strip()}" x="{right}" y="{y + 12}">{values[name]:,.0f}</text>'
