"""Measures that the cost of a request does not grow with more rows, more connections or a second worker."""

from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import servers
from benchmarks.agreement import Client
from benchmarks.databases import databases
from benchmarks.load import Operation
from benchmarks.servers import PINNED, Running
from benchmarks.turns import turn

USERS = (1_000, 1_000_000)
WORKERS = (1, 2)
CONNECTIONS = (16, 64, 256)
_GET = Operation("get", "get a user")
_PAGE = Operation("deep", "100 users, from the middle")


class _Server(NamedTuple):
    running: Running
    users: int
    workers: int
    middle: str  # the path of a page from the middle of the table


def measure(kind: str, folder: Path, options: Namespace, measured: dict[str, Any]) -> None:
    """Add rows to `growth`. The workers share one core: CPU per request then says how much more two cores serve."""
    PINNED.begin()
    with ExitStack() as stack:
        running = [server for users in USERS for server in _started(kind, users, folder / str(users), stack)]
        for number in range(options.rounds["growth"] + 1):
            for connections in CONNECTIONS:
                for operation in (_GET, _PAGE):
                    for server in running:
                        row = turn(
                            server.running,
                            operation,
                            server.middle,
                            connections=connections,
                            seconds=options.seconds,
                            users=server.users,
                        )
                        if number:  # the first round is a warm-up
                            of = {"database": kind, "users": server.users, "workers": server.workers}
                            measured["growth"].append({**of, "connections": connections, **row})
            print(f"{kind}: growth, round {number} of {options.rounds['growth']}", flush=True)


def _started(kind: str, users: int, folder: Path, stack: ExitStack) -> list[_Server]:
    url = stack.enter_context(databases(kind, folder, users, posts=0)).fresh("users")
    started = []
    for workers in WORKERS:
        running = servers.start(servers.ours().with_workers(workers), url, folder / f"{workers}.log")
        stack.callback(running.stop)
        middle = Client(running.port, f"{workers} workers").page_after("/api/users?limit=100", users // 200)
        started.append(_Server(running, users, workers, middle))
    return started
