"""The servers: their commands, their start on given cores, their use of CPU and memory."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import toolchains

ROOT = Path(__file__).parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")

Command = Callable[[int], list[str]]


@dataclass(frozen=True)
class Mode:
    """The cores on which the servers run, and those on which the load generator and PostgreSQL run."""

    name: str
    title: str
    server_cores: frozenset[int]
    load_cores: frozenset[int]

    def begin(self) -> None:
        """Move this process, and with it all that it starts later, to the cores of the load generator."""
        os.sched_setaffinity(0, self.load_cores)


# Systems other than Linux can make the tables from a results.json, but cannot measure.
_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
PINNED = Mode("pinned", "pinned to one core", frozenset(_CORES[:1]), frozenset(_CORES[-1:]))
AS_STARTED = Mode("as-started", "as started", frozenset(_CORES), frozenset(_CORES))
MODES = (PINNED, AS_STARTED)


@dataclass(frozen=True)
class Contestant:
    """An application and the command that serves it on a port."""

    name: str
    title: str
    command: Command
    kind: str = "peer"  # ours, peer (with the ORM), core (without it), limit, fastify or go
    folder: Path = ROOT  # the checkout whose code is served
    build: Callable[[], None] = lambda: None  # raises toolchains.Missing
    warm_up_requests: int = 1  # for each operation

    def with_workers(self, workers: int) -> "Contestant":
        """The same application in several processes; for this project and uvicorn."""
        return replace(self, command=lambda port: [*self.command(port), f"--workers={workers}"])


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def _uvicorn(target: str, *options: str, http: str = "httptools") -> Command:
    # As `pip install uvicorn[standard]` runs; the access log is off, as for all servers.
    return lambda port: _python(
        *("uvicorn", target, "--host=127.0.0.1", f"--port={port}", f"--http={http}", "--loop=uvloop"),
        *("--no-access-log", "--log-level=warning", *options),
    )


def _gunicorn(target: str) -> Command:
    # As many threads as this project has for reads. gunicorn's default, the sync worker, closes every connection.
    return lambda port: _python(
        *("gunicorn", target, "--worker-class=gthread", "--workers=1", "--threads=4"),
        *(f"--bind=127.0.0.1:{port}", "--keep-alive=75", "--log-level=warning"),
    )


def _hypercorn(target: str) -> Command:
    return lambda port: _python(
        *("hypercorn", target, f"--bind=127.0.0.1:{port}", "--worker-class=uvloop", "--log-level=warning"),
    )


_OURS = {
    "uvicorn": lambda port: _python("api", "serve", f"--port={port}"),
    "granian": lambda port: _python(
        *("granian", "api:create_app", "--factory", "--interface=asgi", "--host=127.0.0.1", f"--port={port}"),
        *("--no-ws", "--log-level=warning"),
    ),
    "uvicorn-h11": _uvicorn("api:create_app", "--factory", http="h11"),
    "uvicorn-httptools": _uvicorn("api:create_app", "--factory"),
    "hypercorn": _hypercorn("api.app:create_app()"),
}
SERVERS = tuple(_OURS)


def ours(server: str = "uvicorn") -> Contestant:
    title = "this project" if server == "uvicorn" else f"this project on {server}"
    name = "ours" if server == "uvicorn" else f"ours_{server.replace('-', '_')}"
    return Contestant(name, title, _OURS[server], "ours")


PEERS = (
    Contestant("connexion", "Connexion FlaskApp", _uvicorn("benchmarks.peers.connexion_orm:app")),
    Contestant("flask", "Flask", _gunicorn("benchmarks.peers.flask_orm:app")),
    Contestant("smorest", "flask-smorest", _gunicorn("benchmarks.peers.smorest_orm:app")),
    Contestant("fastapi_def", "FastAPI def, ORM", _uvicorn("benchmarks.peers.fastapi_def:app")),
    Contestant("fastapi_async", "FastAPI async, ORM", _uvicorn("benchmarks.peers.fastapi_async:app")),
    Contestant("litestar", "Litestar async, ORM", _uvicorn("benchmarks.peers.litestar_orm:app")),
    Contestant("blacksheep", "BlackSheep async, ORM", _uvicorn("benchmarks.peers.blacksheep_orm:app")),
    Contestant("django", "django-modern-rest", _gunicorn("benchmarks.peers.django_app:app")),
    Contestant("fastapi_core", "FastAPI def, Core", _uvicorn("benchmarks.peers.fastapi_core:app"), "core"),
    Contestant("limit", "limit: no framework", _uvicorn("benchmarks.peers.limit:app"), "limit"),
    Contestant(
        "fastify",
        "Fastify 5, strict",
        lambda port: ["node", str(toolchains.FASTIFY), str(port)],
        "fastify",
        build=toolchains.fastify,
        warm_up_requests=5000,  # V8 compiles what has run often; after 3,000 requests the figures stay the same
    ),
    Contestant("go", "Go net/http", lambda port: [str(toolchains.GO), str(port)], "go", build=toolchains.go),
)


def built(contestants: Iterable[Contestant]) -> tuple[list[Contestant], list[str]]:
    """Those that can be started here, and a sentence for each of the others."""
    able, left_out = [], []
    for contestant in contestants:
        try:
            contestant.build()
        except toolchains.Missing as missing:
            print(missing, flush=True)
            left_out.append(str(missing))
        else:
            able.append(contestant)
    return able, left_out


@dataclass
class Running:
    """A started server."""

    contestant: Contestant
    port: int
    process: subprocess.Popen[bytes]
    seconds_to_first_answer: float

    def cpu_seconds(self) -> float:
        """User and system time of all its processes, and of those that have ended."""
        return sum(sum(map(int, stat[11:15])) for stat in _tree(self.process.pid).values()) / _TICKS

    def memory_bytes(self) -> int:
        """Resident memory of all its processes, with shared pages divided among the processes that share them (PSS)."""
        kilobytes = 0
        for pid in _tree(self.process.pid):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kilobytes += int(line.split()[1])
        return kilobytes * 1024

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(contestant: Contestant, database_url: str, log: Path, mode: Mode = PINNED) -> Running:
    """Start it on the cores of the mode and wait for its first answer."""
    port = _free_port()
    environ = {
        # Users keep the compiled modules; compiling them takes part of the start.
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "DATABASE_URL": database_url,
        "API_LOG_LEVEL": "warning",
        "PYTHONPATH": str(contestant.folder),
        "PYTHONWARNINGS": "ignore",
    }
    began = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", ",".join(map(str, mode.server_cores)), *contestant.command(port)],
            cwd=contestant.folder,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    while not _answers(port):
        if process.poll() is not None or time.perf_counter() - began > 60:
            raise SystemExit(f"{contestant.title} did not start:\n{log.read_text()}")
        time.sleep(0.01)
    return Running(contestant, port, process, time.perf_counter() - began)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/health/live")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _tree(root: int) -> dict[int, list[str]]:
    """The fields of /proc/PID/stat, after the command, of a process and of all that descend from it."""
    stats, children = {}, defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended
            continue
        pid = int(path.parent.name)
        stats[pid] = fields
        children[int(fields[1])].append(pid)
    found, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        found[pid] = stats[pid]
        waiting.extend(children[pid])
    return found
