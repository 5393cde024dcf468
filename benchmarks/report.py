"""Makes the tables from the measurements. Each figure is the median of the rounds."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from typing import Any

from benchmarks import goals
from benchmarks.figures import DATABASES, ELSEWHERE, MODE_TITLES, TITLES, Figures, table, unique

# The title of a table, the member that it shows, and by what it is divided.
_MEMBERS = (
    ("CPU per request, µs", "cpu_us", 1),
    ("Requests per second", "rps", 1),
    ("p50, ms", "p50", 1000),
    ("p99, ms", "p99", 1000),
)
_PYTHON = ("ours", "peer", "core", "limit")
_OTHERS = ("ours", *ELSEWHERE)
_BOLD = "CPU per request, as ratios: the target stands in brackets, and a ratio that misses it is bold."


def markdown(measured: dict[str, Any]) -> str:
    """All tables."""
    figures = Figures(measured)
    versions = {**measured["environment"]["packages"], **measured["environment"]["toolchains"]}
    lines = [facts(measured), "", ", ".join(f"{name} {number}" for name, number in versions.items()) + "."]
    for database in figures.databases:
        for connections in figures.connections:
            lines += ["", f"## {DATABASES[database]}, {connections} connections", ""]
            lines += [f"Each cell: {' / '.join(MODE_TITLES[mode] for mode in figures.modes)}."]
            for title, member, unit in _MEMBERS:
                for kinds in (_PYTHON, _OTHERS) if figures.names(*ELSEWHERE) else (_PYTHON,):
                    lines += ["", f"{title}{' (other languages)' * (kinds == _OTHERS)}:", ""]
                    lines += turns(figures, database, connections, kinds, member=member, unit=unit)
    for connections in figures.connections:
        lines += ["", f"## Goals, {connections} connections", "", _BOLD, "", *goals.ratios(figures, connections)]
    if measured["growth"]:
        lines += ["", "## Growth", "", *growth(measured["growth"])]
    if measured["starts"]:
        lines += ["", "## Start and memory, beside stock Connexion", "", *goals.starts(measured["starts"])]
    if measured["states"]:
        lines += ["", "## Memory after all turns, and the first start", "", *_states(measured)]
    return "\n".join(lines) + "\n"


def named(measured: dict[str, Any]) -> dict[str, list[str]]:
    """The parts that the READMEs show, by the name in their markers."""
    figures = Figures(measured)
    connections = figures.connections[0]
    python = {
        database: turns(figures, database, connections, _PYTHON, member="cpu_us") for database in figures.databases
    }
    return {
        "facts": [facts(measured)],
        **python,
        "numbers": [*goals.numbers(figures, connections), "", facts(measured)],
        "languages": _languages(figures, connections),
        "goals": goals.ratios(figures, connections),
        "growth": growth(measured["growth"]),
        "start": goals.starts(measured["starts"]),
    }


def facts(measured: dict[str, Any]) -> str:
    """The machine, the date, the languages, the databases, the rounds, and the peers that are missing."""
    environment = measured["environment"]
    languages = {name: number for name, number in environment["toolchains"].items() if name in {"Node", "Go"}}
    versions = {"Python": environment["python"], **languages, **environment["databases"]}
    machine = f"{environment['cores']} cores of {environment['processor']}, {environment['system']}"
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    measured_on = f"Measured by `tox -e bench` on {environment['date']} on {machine}: {listed}."
    return " ".join([measured_on, *_counted(measured["rounds"]), *measured["left_out"]])


def turns(
    figures: Figures, database: str, connections: int, kinds: tuple[str, ...], *, member: str, unit: int = 1
) -> list[str]:
    """A row for each server; each cell has the figures of all modes."""
    rows = (
        [figures.title(name)]
        + [_cell(figures, (database, connections, operation, name), member, unit) for operation in figures.operations]
        for name in figures.names(*kinds)
    )
    return table((TITLES[name] for name in figures.operations), rows)


def _cell(figures: Figures, turn: tuple[str, int, str, str], member: str, unit: int) -> str:
    values = [(figures.value(member, mode, *turn), figures.failed(mode, *turn)) for mode in figures.modes]
    # A server that fails requests must not look fast.
    return " / ".join(
        f"{value / unit:,.{int(unit > 1)}f}" + (f" ({failed} failed)" if failed else "")
        for value, failed in values
        if value is not None
    )


def _languages(figures: Figures, connections: int) -> list[str]:
    """The peers in other languages, on all databases in one table."""
    lines = []
    for database in figures.databases:
        head, rule, *rows = turns(figures, database, connections, _OTHERS, member="cpu_us")
        lines += [row.replace("| ", f"| {DATABASES[database]}: ", 1) for row in rows]
    return [head, rule, *lines]


def growth(rows: list[dict[str, Any]]) -> list[str]:
    """CPU per request, requests per second and p99, by rows, workers and connections; then ratios of the CPU."""
    cells = defaultdict(list)
    for row in rows:
        cells[row["database"], row["operation"], row["users"], row["workers"], row["connections"]].append(row)
    columns = unique(row["connections"] for row in rows)
    few, many = min(row["users"] for row in rows), max(row["users"] for row in rows)
    lines, ratios = [], []
    for database, operation in unique((row["database"], row["operation"]) for row in rows):
        what = f"{DATABASES[database]}, {'a user' if operation == 'get' else '100 users'}"
        for users, workers in unique((row["users"], row["workers"]) for row in rows):
            title = f"{what} of {users:,}, {workers} worker{'s' * (workers > 1)}"
            lines.append([title, *(_growth_cell(cells[database, operation, users, workers, n]) for n in columns)])
        for title, grown, plain in (
            (f"{many:,} users, times {few:,}", (many, 1), (few, 1)),
            ("2 workers on the one core, times 1 worker", (few, 2), (few, 1)),
        ):
            pairs = (((database, operation, *grown, n), (database, operation, *plain, n)) for n in columns)
            ratios.append([f"{what}: {title}", *(f"{_cpu(cells[a]) / _cpu(cells[b]):.2f}" for a, b in pairs)])
    return table((f"{number} connections" for number in columns), lines + ratios)


def _growth_cell(turns: list[dict[str, Any]]) -> str:
    rps, p99 = (median(row[member] for row in turns) for member in ("rps", "p99"))
    failed = sum(row["failed"] for row in turns)
    return f"{_cpu(turns):,.0f} µs, {rps:,.0f}/s, {p99 / 1000:.1f} ms" + (f" ({failed} failed)" if failed else "")


def _cpu(turns: list[dict[str, Any]]) -> float:
    return median(row["cpu_us"] for row in turns)


def _states(measured: dict[str, Any]) -> list[str]:
    """Of the pinned servers, or of those that were measured."""
    states = {(row["mode"], row["database"], row["server"]): row for row in measured["states"]}
    mode = measured["states"][0]["mode"]
    databases = unique(row["database"] for row in measured["states"])
    rows = []
    for server in measured["servers"]:
        found = [states[mode, database, server["name"]] for database in databases]
        memory = [f"{state['memory_bytes'] / 1e6:.0f}" for state in found]
        rows.append([server["title"], *memory, f"{min(state['seconds_to_first_answer'] for state in found):.2f}"])
    headings = [f"memory, {DATABASES[database]}, MB" for database in databases]
    return table((*headings, "first answer after, s"), rows)


def _counted(rounds: list[dict[str, Any]]) -> Iterable[str]:
    if rounds:
        numbers = {mode: len({row["round"] for row in rounds if row["mode"] == mode}) for mode in MODE_TITLES}
        counted = " and ".join(f"{number} {MODE_TITLES[mode]}" for mode, number in numbers.items() if number)
        connections = " and ".join(map(str, unique(row["connections"] for row in rounds)))
        seconds = median(row["seconds"] for row in rounds)
        yield f"Rounds of {seconds:.1f} s with {connections} connections: {counted}."
