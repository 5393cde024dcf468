"""Makes tables and a chart from the measurements. Each figure is the median of the rounds."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from benchmarks.load import OPERATIONS

_DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_TITLES = {operation.name: operation.title for operation in OPERATIONS}


class _Goal(NamedTuple):
    """A row of the table of ratios: the peers to compare with, and the target ratio of each operation."""

    title: str
    kind: str
    figures: dict[str, float]
    at_least: bool


_GOALS = (
    _Goal(
        "ahead of the best peer with the ORM",
        "peer",
        {"get": 4, "users": 4, "posts": 4, "deep": 4, "create": 3, "invalid": 3, "unknown": 4, "liveness": 1.3},
        at_least=True,
    ),
    _Goal(
        "ahead of FastAPI on the same Core statements",
        "core",
        {
            "get": 1.3,
            "users": 1.3,
            "posts": 1.3,
            "deep": 1.3,
            "create": 1.2,
            "invalid": 3,
            "unknown": 1.3,
            "liveness": 1.3,
        },
        at_least=True,
    ),
    _Goal(
        "times the limit",
        "limit",
        {"get": 3, "users": 2.5, "posts": 2.5, "deep": 2.5, "create": 2.5, "invalid": 3, "unknown": 3, "liveness": 2.5},
        at_least=False,
    ),
)


class _Figures:
    """Medians, by database, number of connections, operation and server."""

    def __init__(self, measured: dict[str, Any]) -> None:
        turns = defaultdict(list)
        for row in measured["rounds"]:
            turns[row["database"], row["connections"], row["operation"], row["server"]].append(row)
        self._turns = turns
        self.databases = _unique(row["database"] for row in measured["rounds"])
        self.connections = _unique(row["connections"] for row in measured["rounds"])
        self.operations = _unique(row["operation"] for row in measured["rounds"])
        self.servers = {row["name"]: row for row in measured["servers"]}
        self.state = {(row["database"], row["name"]): row for row in measured["servers"]}

    def value(self, member: str, *turn: Any) -> float:
        return median(row[member] for row in self._turns[turn])

    def failed(self, *turn: Any) -> int:
        return sum(row["failed"] for row in self._turns[turn])

    def of_kind(self, kind: str) -> list[str]:
        return [name for name, row in self.servers.items() if row["kind"] == kind]

    def ratio(self, goal: _Goal, member: str, *turn: Any) -> float | None:
        """The figure of the best peer of a kind, divided by that of this project."""
        others = [self.value(member, *turn, name) for name in self.of_kind(goal.kind)]
        own = self.of_kind("ours")
        if not others or not own:
            return None
        best = min(others) / self.value(member, *turn, own[0])
        return best if goal.at_least else 1 / best


def markdown(measured: dict[str, Any]) -> str:
    """All tables."""
    figures = _Figures(measured)
    environment = measured["environment"]
    packages = ", ".join(f"{name} {number}" for name, number in environment["packages"].items())
    lines = [
        (
            f"Python {environment['python']}, {environment['cores']} cores of {environment['processor']}; "
            f"{_counted(measured)}; {environment['minutes']} minutes."
        ),
        f"{packages}.",
        *measured["left_out"],
    ]
    for database in figures.databases:
        for connections in figures.connections:
            lines += ["", f"## {_DATABASES[database]}, {connections} connections"]
            for title, member, shown in _TABLES:
                lines += ["", f"{title}:", "", *_table(figures, database, connections, member, shown)]
            lines += ["", "CPU per request, as ratios (target in brackets, missed ones in bold):", ""]
            lines += _ratios(figures, database, connections)
    lines += ["", "## Memory and start", "", *_states(figures)]
    return "\n".join(lines) + "\n"


def _microseconds(value: float) -> str:
    return f"{value:,.0f}"


def _milliseconds(value: float) -> str:
    return f"{value / 1000:,.1f}"


_TABLES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("CPU per request, µs", "cpu_us", _microseconds),
    ("Requests per second", "rps", _microseconds),
    ("p50, ms", "p50", _milliseconds),
    ("p99, ms", "p99", _milliseconds),
)


def _table(
    figures: _Figures, database: str, connections: int, member: str, shown: Callable[[float], str]
) -> Iterable[str]:
    yield "| | " + " | ".join(_TITLES[name] for name in figures.operations) + " |"
    yield "| --- |" + " ---: |" * len(figures.operations)
    for name, server in figures.servers.items():
        cells = []
        for operation in figures.operations:
            turn = (database, connections, operation, name)
            # A server that fails requests must not look fast.
            failed = figures.failed(*turn)
            cells.append(shown(figures.value(member, *turn)) + (f" ({failed} failed)" if failed else ""))
        title = f"**{server['title']}**" if server["kind"] == "ours" else server["title"]
        yield f"| {title} | " + " | ".join(cells) + " |"


def _ratios(figures: _Figures, database: str, connections: int) -> Iterable[str]:
    yield "| | " + " | ".join(_TITLES[name] for name in figures.operations) + " |"
    yield "| --- |" + " ---: |" * len(figures.operations)
    for goal in _GOALS:
        cells = []
        for operation in figures.operations:
            ratio = figures.ratio(goal, "cpu_us", database, connections, operation)
            target = goal.figures.get(operation)
            if ratio is None:
                cells.append("")
            elif target is None:
                cells.append(f"{ratio:.1f}")
            else:
                met = ratio >= target if goal.at_least else ratio <= target
                cells.append(f"{ratio:.1f} ({target:g})" if met else f"**{ratio:.1f}** ({target:g})")
        yield f"| {goal.title} | " + " | ".join(cells) + " |"


def _states(figures: _Figures) -> Iterable[str]:
    headings = [_DATABASES[database] for database in figures.databases]
    yield "| | " + " | ".join(f"memory, {heading}, MB" for heading in headings) + " | first answer after, s |"
    yield "| --- |" + " ---: |" * (len(headings) + 1)
    for name, server in figures.servers.items():
        states = [figures.state[database, name] for database in figures.databases]
        memory = " | ".join(f"{state['memory_bytes'] / 1e6:.0f}" for state in states)
        seconds = min(state["seconds_to_first_answer"] for state in states)
        yield f"| {server['title']} | {memory} | {seconds:.2f} |"


def _counted(measured: dict[str, Any]) -> str:
    rounds = len({row["round"] for row in measured["rounds"]})
    seconds = median(row["seconds"] for row in measured["rounds"])
    return f"{rounds} round{'s' * (rounds != 1)} of {seconds:.1f} s a turn"


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


# The chart: one panel for each operation, one bar for each server, shorter is better.
_SHOWN = ("liveness", "get", "users", "posts", "create", "invalid")
_LABEL, _BAR, _GAP, _PANEL, _COLUMNS = 150, 15, 5, 420, 2
_COLOURS = {"ours": "ours", "limit": "limit"}  # the others have the colour of a peer
_STYLE = """
svg { background: #fff; font: 12px system-ui, sans-serif }
text { fill: #24292f } .small { fill: #57606a; font-size: 11px } .title { font-weight: 600; font-size: 13px }
.ours { fill: #1a7f37 } .peer { fill: #a9b4c0 } .limit { fill: none; stroke: #57606a; stroke-dasharray: 3 2 }
.bold { font-weight: 600 }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117 } text { fill: #e6edf3 } .small { fill: #9198a1 }
  .ours { fill: #3fb950 } .peer { fill: #59636e } .limit { stroke: #9198a1 }
}
"""


def chart(measured: dict[str, Any]) -> str:
    """An SVG chart of the CPU per request, for the first database and number of connections."""
    figures = _Figures(measured)
    database, connections = figures.databases[0], figures.connections[0]
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
            f'<text class="small" x="12" y="38">{_DATABASES[database]}, {connections} connections, one process on '
            "one core, same data, JSON and durability</text>"
        ),
    ]
    for number, operation in enumerate(shown):
        left = 12 + number % _COLUMNS * _PANEL
        top = 46 + number // _COLUMNS * height_of_panel
        parts += _panel(figures, (database, connections, operation), left, top)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(figures: _Figures, turn: tuple[str, int, str], left: int, top: int) -> Iterable[str]:
    values = {name: figures.value("cpu_us", *turn, name) for name in figures.servers}
    room = _PANEL - _LABEL - 70
    yield f'<text class="title" x="{left}" y="{top + 18}">{escape(_TITLES[turn[2]])}</text>'
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
