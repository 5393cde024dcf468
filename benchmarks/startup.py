"""Measures the start and the memory of one and of four workers, of this project and of stock Connexion."""

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmarks import load, servers
from benchmarks.databases import databases
from benchmarks.servers import AS_STARTED, PEERS, Contestant, Running

WORKERS = (1, 4)
_WARM_UP = ("get", "users", "posts", "create")
_SETTLED_SECONDS, _AT_MOST_SECONDS = 0.5, 30


def measure(kind: str, folder: Path, options: Namespace, measured: dict[str, Any]) -> None:
    """Add rows to `starts`. One server runs at a time, on all cores; its memory is measured after the same requests."""
    AS_STARTED.begin()
    stock = next(peer for peer in PEERS if peer.name == "connexion")
    with databases(kind, folder) as copies:
        contestants = [(contestant, copies.fresh(contestant.name)) for contestant in (servers.ours(), stock)]
        for _ in range(options.rounds["start-up"]):
            for workers in WORKERS:
                for contestant, url in contestants:
                    row = _start(contestant.with_workers(workers), url, folder / "start.log")
                    of = {"database": kind, "server": contestant.name, "workers": workers}
                    measured["starts"].append({**of, **row})
                    figures = f"{row['wall_seconds']:.2f} s, {row['cpu_seconds']:.2f} s CPU"
                    memory = f"{row['memory_bytes'] / 1e6:.0f} MB"
                    print(f"{kind}: {contestant.title}, --workers={workers}: {figures}, {memory}", flush=True)


def _start(contestant: Contestant, url: str, log: Path) -> dict[str, float]:
    server = servers.start(contestant, url, log, AS_STARTED)
    try:
        cpu_seconds = _cpu_of_the_start(server)
        for operation in (o for o in load.OPERATIONS if o.name in _WARM_UP):
            load.run(operation, server.port, "", connections=64, seconds=0.5)
        return {
            "wall_seconds": server.seconds_to_first_answer,
            "cpu_seconds": cpu_seconds,
            "memory_bytes": server.memory_bytes(),
        }
    finally:
        server.stop()


def _cpu_of_the_start(server: Running) -> float:
    """What all workers have used when none of them uses more: the first answer may come before the last worker."""
    began = since = time.monotonic()
    used = server.cpu_seconds()
    while time.monotonic() - since < _SETTLED_SECONDS and time.monotonic() - began < _AT_MOST_SECONDS:
        time.sleep(0.05)
        now = server.cpu_seconds()
        if now > used + 0.01:
            used, since = now, time.monotonic()
    return used
