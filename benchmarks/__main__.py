"""`python -m benchmarks`: measures all servers in turns, on both databases, and writes the tables of the READMEs."""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import environment, load, readme, report, scale, servers, startup, turns
from benchmarks.chart import chart
from benchmarks.load import OPERATIONS
from benchmarks.servers import MODES, PEERS, SERVERS, Contestant

HERE = Path(__file__).parent
_PARTS: dict[str, Callable[[str, Path, argparse.Namespace, dict[str, Any]], None]] = {
    **{mode.name: partial(turns.measure, mode) for mode in MODES},
    "growth": scale.measure,
    "start-up": startup.measure,
}
_ROUNDS = {"pinned": 3, "as-started": 2, "growth": 2, "start-up": 3}
# What a partial run measures must not replace the figures of a whole run.
_WHOLE, _PARTIAL = HERE / "results", HERE.parent / "reports" / "benchmark"


def main() -> None:
    whole = len(sys.argv) == 1
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("The benchmark was ended."))  # which stops the servers
    load.ensure_wrk()
    began = time.monotonic()
    options.contestants, left_out = servers.built(options.contestants)
    measured: dict[str, Any] = {
        "environment": environment.described(),
        "left_out": left_out,
        "servers": [{"name": c.name, "title": c.title, "kind": c.kind} for c in options.contestants],
        **{table: [] for table in ("rounds", "states", "growth", "starts")},
    }
    output = options.output or (_WHOLE if whole else _PARTIAL)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for part in options.parts:
            for kind in options.databases:
                _PARTS[part](kind, Path(folder, part, kind), options, measured)
                measured["environment"]["minutes"] = round((time.monotonic() - began) / 60, 1)
                output.joinpath("results.json").write_text(json.dumps(measured, indent=1) + "\n")
    text = report.markdown(measured)
    output.joinpath("results.md").write_text(text)
    if measured["rounds"]:
        output.joinpath("chart.svg").write_text(chart(measured))
    print(f"\n{text}\nWritten to {output}")
    if whole:
        readme.write(measured)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of each part: about ten minutes")
    parser.add_argument(
        "--parts", nargs="+", choices=_PARTS, default=list(_PARTS), help="what to measure (default all)"
    )
    parser.add_argument("--rounds", type=int, help="rounds of each part (default 3; as-started and growth 2)")
    parser.add_argument("--seconds", type=float, help="length of one measurement in seconds (default 0.7)")
    parser.add_argument("--connections", type=int, nargs="+", default=[16], help="numbers of connections (default 16)")
    parser.add_argument("--databases", nargs="+", choices=("sqlite", "postgresql"), default=["sqlite", "postgresql"])
    parser.add_argument("--operations", nargs="+", choices=[operation.name for operation in OPERATIONS])
    parser.add_argument("--peers", nargs="*", choices=[peer.name for peer in PEERS], help="default all")
    parser.add_argument("--server", nargs="+", choices=SERVERS, default=[SERVERS[0]], help="this project's servers")
    parser.add_argument("--output", type=Path, help="folder for results.json, results.md and chart.svg")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else None)
    options.rounds = {part: rounds or default for part, default in _ROUNDS.items()}
    options.seconds = options.seconds or (0.3 if options.quick else 0.7)
    options.contestants = _contestants(options)
    options.operations = [o for o in OPERATIONS if not options.operations or o.name in options.operations]
    return options


def _contestants(options: argparse.Namespace) -> list[Contestant]:
    own = [servers.ours(server) for server in options.server]
    return own + [peer for peer in PEERS if options.peers is None or peer.name in options.peers]


if __name__ == "__main__":
    sys.exit(main())
