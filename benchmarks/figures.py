"""Medians of the measured turns, and the names under which the tables show them."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from typing import Any

from benchmarks.load import OPERATIONS
from benchmarks.servers import MODES

DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
MODE_TITLES = {mode.name: mode.title for mode in MODES}
TITLES = {operation.name: operation.title for operation in OPERATIONS}
# Peers in other languages stand in a table of their own.
ELSEWHERE = ("fastify", "go")


class Figures:
    """Medians, by mode, database, number of connections, operation and server."""

    def __init__(self, measured: dict[str, Any]) -> None:
        turns = defaultdict(list)
        for row in measured["rounds"]:
            key = row["mode"], row["database"], row["connections"], row["operation"], row["server"]
            turns[key].append(row)
        self._turns = dict(turns)
        self.modes = unique(row["mode"] for row in measured["rounds"])
        self.databases = unique(row["database"] for row in measured["rounds"])
        self.connections = unique(row["connections"] for row in measured["rounds"])
        self.operations = unique(row["operation"] for row in measured["rounds"])
        self.servers = {row["name"]: row for row in measured["servers"]}

    def value(self, member: str, *turn: Any) -> float | None:
        """The median of one turn; None if it was not measured."""
        return median(row[member] for row in self._turns[turn]) if turn in self._turns else None

    def failed(self, *turn: Any) -> int:
        return sum(row["failed"] for row in self._turns.get(turn, ()))

    def names(self, *kinds: str) -> list[str]:
        return [name for name, row in self.servers.items() if row["kind"] in kinds]

    def title(self, name: str) -> str:
        """The title of a server, in bold type for this project."""
        server = self.servers[name]
        return f"**{server['title']}**" if server["kind"] == "ours" else server["title"]


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a table whose first column is text, and whose other columns are numbers."""
    headings = list(headings)
    lines = [["", *headings], ["---", *["---:"] * len(headings)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
