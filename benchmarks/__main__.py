"""`python -m benchmarks`: measures all servers in turns, on both databases."""

import argparse
import json
import os
import platform
import random
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import agreement, load, report, servers
from benchmarks.databases import databases
from benchmarks.load import OPERATIONS, Operation
from benchmarks.servers import LOAD_CORE, PEERS, SERVERS, Contestant, Running

RESULTS = Path(__file__).parent / "results"
_PACKAGES = (
    *("connexion", "Flask", "Flask-SQLAlchemy", "flask-smorest", "marshmallow", "fastapi", "pydantic", "litestar"),
    *("SQLAlchemy", "psycopg", "asyncpg", "aiosqlite", "granian", "uvicorn", "httptools", "uvloop", "gunicorn"),
)


def main() -> None:
    options = _options()
    load.ensure_wrk()
    # This process, wrk and PostgreSQL share one core; the server under test has the other core for itself.
    os.sched_setaffinity(0, {LOAD_CORE})
    began = time.monotonic()
    options.contestants, left_out = servers.built(options.contestants)
    measured: dict[str, Any] = {"environment": _environment(), "left_out": left_out, "rounds": [], "servers": []}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for kind in options.databases:
            _measure(kind, Path(folder), options, measured)
    measured["environment"]["minutes"] = round((time.monotonic() - began) / 60, 1)
    options.output.mkdir(parents=True, exist_ok=True)
    options.output.joinpath("results.json").write_text(json.dumps(measured, indent=1) + "\n")
    text = report.markdown(measured)
    options.output.joinpath("results.md").write_text(text)
    options.output.joinpath("chart.svg").write_text(report.chart(measured))
    print("\n" + text)


def _measure(kind: str, folder: Path, options: argparse.Namespace, measured: dict[str, Any]) -> None:
    with databases(kind, folder) as copies, ExitStack() as stack:
        running = []
        for contestant in options.contestants:
            url = copies.fresh(contestant.name)
            started = servers.start(contestant, url, folder / f"{kind}-{contestant.name}.log")
            stack.callback(started.stop)
            running.append(started)
        deep = agreement.check([server.port for server in running], [s.contestant.title for s in running])
        print(f"{kind}: {len(running)} servers agree", flush=True)
        for server, path in zip(running, deep, strict=True):  # a warm-up: work done once is not timed
            for operation in options.operations:
                load.run(operation, server.port, path, connections=16, seconds=0.3)
        turns = [
            (number, connections, operation)
            for number in range(options.rounds)
            for connections in options.connections
            for operation in options.operations
        ]
        for number, connections, operation in turns:
            order = list(zip(running, deep, strict=True))
            random.shuffle(order)
            for server, path in order:
                row = _turn(server, path, operation, connections, options.seconds)
                measured["rounds"].append({"database": kind, "round": number, "connections": connections, **row})
            _show(kind, connections, operation, measured["rounds"][-len(order) :])
        for server in running:
            measured["servers"].append(
                {
                    "database": kind,
                    "name": server.contestant.name,
                    "title": server.contestant.title,
                    "kind": server.contestant.kind,
                    "memory_bytes": server.memory_bytes(),
                    "seconds_to_first_answer": server.seconds_to_first_answer,
                }
            )


def _turn(server: Running, deep: str, operation: Operation, connections: int, seconds: float) -> dict[str, Any]:
    before = server.cpu_seconds()
    seen = load.run(operation, server.port, deep, connections=connections, seconds=seconds)
    used = server.cpu_seconds() - before
    return {
        "server": server.contestant.name,
        "operation": operation.name,
        "cpu_us": used / max(seen.requests, 1) * 1e6,
        "rps": seen.requests / seen.seconds,
        **asdict(seen),
    }


def _show(kind: str, connections: int, operation: Operation, rows: list[dict[str, Any]]) -> None:
    figures = "  ".join(f"{row['server']} {row['cpu_us']:.0f}" for row in sorted(rows, key=lambda row: row["cpu_us"]))
    failed = sum(row["failed"] for row in rows)
    print(
        f"{kind} {connections:3} {operation.title:15} µs CPU: {figures}" + (f"  ({failed} failed)" if failed else ""),
        flush=True,
    )


def _environment() -> dict[str, Any]:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "python": platform.python_version(),
        "processor": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round at 16 connections: about three minutes")
    parser.add_argument("--rounds", type=int, help="rounds (default 3)")
    parser.add_argument("--seconds", type=float, help="length of one measurement in seconds (default 1.3)")
    parser.add_argument("--connections", type=int, nargs="+", help="numbers of connections (default 16 64)")
    parser.add_argument("--databases", nargs="+", choices=("sqlite", "postgresql"), default=["sqlite", "postgresql"])
    parser.add_argument("--operations", nargs="+", choices=[operation.name for operation in OPERATIONS])
    parser.add_argument("--peers", nargs="*", choices=[peer.name for peer in PEERS], help="default all")
    parser.add_argument("--server", nargs="+", choices=SERVERS, default=[SERVERS[0]], help="this project's servers")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for results.json, results.md, chart.svg")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (0.5 if options.quick else 1.3)
    options.connections = options.connections or ([16] if options.quick else [16, 64])
    options.contestants = _contestants(options)
    options.operations = [o for o in OPERATIONS if not options.operations or o.name in options.operations]
    return options


def _contestants(options: argparse.Namespace) -> list[Contestant]:
    own = [servers.ours(server) for server in options.server]
    return own + [peer for peer in PEERS if options.peers is None or peer.name in options.peers]


if __name__ == "__main__":
    sys.exit(main())
