"""The goals: ratios between this project's figures and those of others, with the targets that they should reach."""

from collections.abc import Iterable
from statistics import median
from typing import Any, NamedTuple

from benchmarks.figures import DATABASES, TITLES, Figures, table


class _Goal(NamedTuple):
    """A row of the table of ratios: the peers to compare with, and the target ratio of each operation."""

    title: str
    kind: str
    targets: dict[str, float]
    at_least: bool


_READS = ("get", "users", "posts", "deep")
_GOALS = (
    _Goal(
        "ahead of the best Python peer with an ORM",
        "peer",
        {**dict.fromkeys(_READS, 4), "create": 3, "invalid": 3, "unknown": 4, "liveness": 1.3},
        at_least=True,
    ),
    _Goal(
        "ahead of FastAPI on the same Core statements",
        "core",
        {**dict.fromkeys(_READS, 1.3), "create": 1.2, "invalid": 3, "unknown": 1.3, "liveness": 1.3},
        at_least=True,
    ),
    _Goal(
        "times Fastify",
        "fastify",
        {**dict.fromkeys((*_READS, "create", "update"), 1), "invalid": 1.3, "liveness": 1.3},
        at_least=False,
    ),
    _Goal("times Go", "go", {}, at_least=False),
    _Goal(
        "times the limit",
        "limit",
        {**dict.fromkeys(_READS, 2.5), "get": 3, "create": 2.5, "invalid": 3, "unknown": 3, "liveness": 2.5},
        at_least=False,
    ),
)
_AS_STARTED, _UNPINNED_TARGET = "as started, times pinned", 1.15
_MEMORY_TARGET = 1


def ratios(figures: Figures, connections: int) -> list[str]:
    """CPU per request as ratios, with the target in brackets; a ratio that misses its target is bold."""
    rows = []
    for database in figures.databases:
        for goal in _GOALS:
            cells = [_ratio(figures, goal, (database, connections, name)) for name in figures.operations]
            if any(cells):
                rows.append([f"{DATABASES[database]}: {goal.title}", *cells])
        cells = [_unpinned(figures, (database, connections, name)) for name in figures.operations]
        if any(cells):
            rows.append([f"{DATABASES[database]}: {_AS_STARTED}", *cells])
    return table((TITLES[name] for name in figures.operations), rows)


_NUMBERS = {
    "get": "to get a user",
    "users": "for a page of 100 users",
    "create": "to create a user, on disk before the response",
}


def numbers(figures: Figures, connections: int) -> list[str]:
    """A sentence each about the three operations that the first screen of the README shows."""
    return [
        _number(figures, f"of CPU {what}", (figures.databases, connections, operation))
        for operation, what in _NUMBERS.items()
    ]


def _number(figures: Figures, what: str, turn: tuple[list[str], int, str]) -> str:
    """The figures on all databases; beside peers, those on the first one."""
    databases, *rest = turn
    ours = [figures.value("cpu_us", "pinned", database, *rest, "ours") for database in databases]
    peers = {name: figures.value("cpu_us", "pinned", databases[0], *rest, name) for name in figures.servers}
    own, others = ours[0], zip(databases[1:], ours[1:], strict=True)
    elsewhere = "".join(f", {value:,.0f} µs on {DATABASES[database]}" for database, value in others)
    best = min(peers[name] for name in figures.names("peer"))
    compared = [f"{best / own:.1f} times less than the best Python peer with an ORM"]
    compared += [f"{peers['connexion'] / own:.0f} times less than stock Connexion"]
    compared += [f"{own / peers['fastify']:.2f} times Fastify's"] if "fastify" in peers else []
    return f"- **{own:,.0f} µs** {what}{elsewhere}: {', '.join(compared)}."


def starts(rows: list[dict[str, Any]]) -> list[str]:
    """The start and the memory of this project, of stock Connexion, and the ratio of the two."""
    databases = list(dict.fromkeys(row["database"] for row in rows))
    lines = []
    for database in databases:
        for workers in sorted({row["workers"] for row in rows}):
            ours, stock = (_start(rows, database, workers, server) for server in ("ours", "connexion"))
            title = f"{DATABASES[database]}, {workers} worker{'s' * (workers > 1)}"
            lines.append([title, *_compared(ours, stock, memory_target=_MEMORY_TARGET if workers == 1 else None)])
    return table(("first answer after, s", "CPU of the start, s", "memory, MB"), lines)


def _ratio(figures: Figures, goal: _Goal, turn: tuple[str, int, str]) -> str:
    others = [figures.value("cpu_us", "pinned", *turn, name) for name in figures.names(goal.kind)]
    own = figures.value("cpu_us", "pinned", *turn, *figures.names("ours")[:1])
    if own is None or not others or None in others:
        return ""
    ahead = min(others) / own
    return _shown(ahead if goal.at_least else 1 / ahead, goal.targets.get(turn[-1]), at_least=goal.at_least)


def _unpinned(figures: Figures, turn: tuple[str, int, str]) -> str:
    (name, *_) = figures.names("ours")
    pinned, free = (figures.value("cpu_us", mode, *turn, name) for mode in ("pinned", "as-started"))
    return "" if pinned is None or free is None else _shown(free / pinned, _UNPINNED_TARGET, at_least=False)


def _start(rows: list[dict[str, Any]], database: str, workers: int, server: str) -> dict[str, float]:
    turns = [row for row in rows if (row["database"], row["workers"], row["server"]) == (database, workers, server)]
    return {member: median(row[member] for row in turns) for member in ("wall_seconds", "cpu_seconds", "memory_bytes")}


def _compared(ours: dict[str, float], stock: dict[str, float], *, memory_target: float | None) -> Iterable[str]:
    """Cells such as "1.1, stock 1.3: 0.85"."""
    for member in ("wall_seconds", "cpu_seconds"):
        yield f"{ours[member]:.2f}, stock {stock[member]:.2f}: {ours[member] / stock[member]:.2f}"
    ratio = _shown(ours["memory_bytes"] / stock["memory_bytes"], memory_target, at_least=False)
    yield f"{ours['memory_bytes'] / 1e6:.0f}, stock {stock['memory_bytes'] / 1e6:.0f}: {ratio}"


def _shown(ratio: float, target: float | None, *, at_least: bool) -> str:
    if target is None:
        return f"{ratio:.2f}"
    met = ratio >= target if at_least else ratio <= target
    return f"{ratio:.2f} ({target:g})" if met else f"**{ratio:.2f}** ({target:g})"
