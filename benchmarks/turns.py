"""Measures all servers in turns, on one database, either pinned to one core or as users start them."""

import random
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import agreement, load, servers
from benchmarks.databases import databases
from benchmarks.load import Operation
from benchmarks.servers import Mode, Running


def measure(mode: Mode, kind: str, folder: Path, options: Namespace, measured: dict[str, Any]) -> None:
    """Add rows to `rounds`, and the memory of each server to `states`."""
    mode.begin()
    with _started(kind, mode, folder, options) as running:
        for number in range(options.rounds[mode.name]):
            for connections in options.connections:
                for operation in options.operations:
                    turn = {"mode": mode.name, "database": kind, "round": number, "connections": connections}
                    rows = [
                        {**turn, "server": server.contestant.name, **row}
                        for server, row in _turns(running, operation, connections, options.seconds)
                    ]
                    measured["rounds"] += rows
                    _show(turn, operation, rows)
        for server, _ in running:
            measured["states"].append(
                {
                    "mode": mode.name,
                    "database": kind,
                    "server": server.contestant.name,
                    "memory_bytes": server.memory_bytes(),
                    "seconds_to_first_answer": server.seconds_to_first_answer,
                }
            )


def turn(
    server: Running, operation: Operation, deep: str, *, connections: int, seconds: float, users: int = load.USERS
) -> dict[str, Any]:
    """The figures of one run of the load generator."""
    before = server.cpu_seconds()
    seen = load.run(operation, server.port, deep, connections=connections, seconds=seconds, users=users)
    used = server.cpu_seconds() - before
    per_request = {"cpu_us": used / max(seen.requests, 1) * 1e6, "rps": seen.requests / seen.seconds}
    return {"operation": operation.name, **per_request, **asdict(seen)}


@contextmanager
def _started(kind: str, mode: Mode, folder: Path, options: Namespace) -> Iterator[list[tuple[Running, str]]]:
    """All servers, agreed and warm, each with the path of a page deep in its posts."""
    with databases(kind, folder) as copies, ExitStack() as stack:
        running = []
        for contestant in options.contestants:
            url = copies.fresh(contestant.name)
            started = servers.start(contestant, url, folder / f"{contestant.name}.log", mode)
            stack.callback(started.stop)
            running.append(started)
        deep = agreement.check([server.port for server in running], [s.contestant.title for s in running])
        print(f"{kind}, {mode.title}: {len(running)} servers agree", flush=True)
        for server, path in zip(running, deep, strict=True):
            for operation in options.operations:
                _warm_up(server, operation, path)
        yield list(zip(running, deep, strict=True))


def _warm_up(server: Running, operation: Operation, deep: str) -> None:
    """Work that is done only once, or at first, is not timed."""
    requests = 0
    while requests < server.contestant.warm_up_requests:
        requests += load.run(operation, server.port, deep, connections=16, seconds=0.2).requests


def _turns(
    running: list[tuple[Running, str]], operation: Operation, connections: int, seconds: float
) -> Iterator[tuple[Running, dict[str, Any]]]:
    for server, deep in random.sample(running, len(running)):
        yield server, turn(server, operation, deep, connections=connections, seconds=seconds)


def _show(turn: dict[str, Any], operation: Operation, rows: list[dict[str, Any]]) -> None:
    figures = "  ".join(f"{row['server']} {row['cpu_us']:.0f}" for row in sorted(rows, key=lambda row: row["cpu_us"]))
    failed = sum(row["failed"] for row in rows)
    place = f"{turn['database']} {turn['mode']} {turn['connections']:3} {operation.title:15}"
    print(f"{place} µs CPU: {figures}" + (f"  ({failed} failed)" if failed else ""), flush=True)
