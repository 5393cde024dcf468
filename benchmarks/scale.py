"""`python -m benchmarks.scale`: measures that CPU per request does not grow with more rows or a second worker."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks import load, servers
from benchmarks.load import OPERATIONS
from benchmarks.servers import LOAD_CORE, Contestant, Running

ROWS = (1_000, 1_000_000)
_BY_NAME = {operation.name: operation for operation in OPERATIONS}


def main() -> None:
    load.ensure_wrk()
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        _more_rows(folder)
        _more_workers(folder)


def _more_rows(folder: Path) -> None:
    running = []
    for rows in ROWS:
        url = f"sqlite:///{folder}/{rows}.db"
        for arguments in (["upgrade"], ["seed", f"--users={rows}", "--posts=0"]):
            _api(url, *arguments)
        running.append(servers.start(servers.ours(), url, folder / f"{rows}.log"))
    deep = "/api/users?limit=100"  # a page of 100 users is the same work in both
    for operation in ("get", "users"):
        figures = _medians(operation, running, deep)
        print(f"{operation}: " + ", ".join(f"{f:.0f} µs with {r:,} users" for r, f in zip(ROWS, figures, strict=True)))
    for server in running:
        server.stop()


def _more_workers(folder: Path) -> None:
    """Two workers on the server's one core: if CPU per request stays the same, two cores would serve twice as much."""
    url = f"sqlite:///{folder}/{ROWS[0]}.db"
    running = [servers.start(_with_workers(workers), url, folder / f"workers-{workers}.log") for workers in (1, 2)]
    for operation in ("liveness", "get", "users"):
        one, two = _medians(operation, running, "/api/users")
        print(f"{operation}: {one:.0f} µs with one worker, {two:.0f} with two: {2 * one / two:.2f} times on two cores")
    for server in running:
        server.stop()


def _medians(operation: str, running: list[Running], deep: str) -> list[float]:
    """The median CPU per request in µs of each server, from seven turns."""
    turns: list[list[float]] = [[] for _ in running]
    for _ in range(7):
        for server, found in zip(running, turns, strict=True):
            before = server.cpu_seconds()
            seen = load.run(_BY_NAME[operation], server.port, deep, connections=16, seconds=1.0)
            found.append((server.cpu_seconds() - before) / seen.requests * 1e6)
    return [median(found[1:]) for found in turns]


def _with_workers(workers: int) -> Contestant:
    return Contestant(
        f"workers{workers}",
        f"{workers} workers",
        lambda port: [sys.executable, "-m", "api", "serve", f"--port={port}", f"--workers={workers}"],
    )


def _api(url: str, *arguments: str) -> None:
    environ = {**os.environ, "DATABASE_URL": url}
    subprocess.run([sys.executable, "-m", "api", *arguments], env=environ, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
