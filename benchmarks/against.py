"""`python -m benchmarks.against FOLDER`: compares the CPU per request of this checkout and another one, in turns.

The other checkout must have its own environment, made by the first command of its README. A ratio below 1 means that
this checkout is faster; on a shared machine, a ratio between 0.97 and 1.03 is no difference.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

from benchmarks import load, servers
from benchmarks.databases import databases
from benchmarks.load import OPERATIONS
from benchmarks.servers import PINNED, Contestant, Running


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare this checkout with another one.")
    parser.add_argument("folder", type=Path, help="the other checkout")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--operations", nargs="+", choices=[o.name for o in OPERATIONS], help="all unless given")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0)
    given = parser.parse_args()
    load.ensure_wrk()
    PINNED.begin()
    with tempfile.TemporaryDirectory(prefix="against-") as name, databases(given.database, Path(name, "db")) as made:
        contestants = (servers.ours(), _other(given.folder.absolute()))
        running = [servers.start(c, made.fresh(c.name), Path(name) / f"{c.name}.log") for c in contestants]
        print("| | this, µs | other, µs | ratio |\n| --- | ---: | ---: | ---: |")
        for operation in (o for o in OPERATIONS if o.name in (given.operations or {o.name})):
            ours, other, ratio = _compared(operation, running, given.turns, given.seconds)
            print(f"| {operation.title} | {ours:.0f} | {other:.0f} | {ratio:.3f} |", flush=True)
        for server in running:
            server.stop()


def _other(folder: Path) -> Contestant:
    python = str(folder / ".venv" / "bin" / "python")
    return Contestant("other", "other", lambda port: [python, "-m", "api", "serve", f"--port={port}"], "ours", folder)


def _compared(
    operation: load.Operation, running: list[Running], turns: int, seconds: float
) -> tuple[float, float, float]:
    """CPU per request of both in µs, and the ratio, each as the median of the turns; the first turn is a warm-up."""
    deep = "/api/posts?limit=20"
    costs: list[list[float]] = []
    for _ in range(turns + 1):
        turn = []
        for server in running:
            before = server.cpu_seconds()
            seen = load.run(operation, server.port, deep, connections=16, seconds=seconds)
            turn.append((server.cpu_seconds() - before) / seen.requests * 1e6)
        costs.append(turn)
    ours, others = zip(*costs[1:], strict=True)
    return median(ours), median(others), median(a / b for a, b in costs[1:])


if __name__ == "__main__":
    main()
