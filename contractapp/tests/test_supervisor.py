"""Several workers: what they share, what must not exist before they are forked, and how they end."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from contractapp.server import available_cores, listen, serve, supervisor

# `shared` passes the application itself, so that the workers are forked; `own` passes its name.
APPLICATION = """
import json, os, sys
from threading import Lock

from contractapp.server import listen, serve


class Application:
    def __init__(self):
        self.seen = {"made_by": os.getpid()}
        self.lock = Lock()  # cannot be sent to a spawned process

    def respond_at_once(self, scope, content):  # as in `ContractApp`
        return None

    def build(self):
        self.seen["built_by"] = os.getpid()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        body = json.dumps({**self.seen, "answered_by": os.getpid()}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


app = Application()

if __name__ == "__main__":
    listener = listen("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)
    serve(app if sys.argv[1] == "shared" else "application:app", listener, workers=3, shutdown_timeout_seconds=5)
"""

MODES = ["shared", "own"]


class Server:
    """A server with three workers; every request has a connection of its own."""

    def __init__(self, folder, mode):
        (folder / "application.py").write_text(APPLICATION)
        self.process = subprocess.Popen(
            [sys.executable, "application.py", mode],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = f"http://127.0.0.1:{self.process.stdout.readline().strip()}/"
        self.ask()

    def ask(self):
        with urllib.request.urlopen(self.url, timeout=60) as response:
            return json.load(response)

    def workers(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {int(pid) for pid in children if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()}


@pytest.fixture
def start(tmp_path):
    """A function that starts a server in one of the modes."""
    servers = []

    def start(mode):
        servers.append(Server(tmp_path, mode))
        return servers[-1]

    yield start
    for server in servers:
        server.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.process.wait(20)
        server.process.kill()
        server.process.wait()
        server.process.stdout.close()


def soon(condition):
    """Whether the condition holds within 30 seconds."""
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_running(pid):
    """Whether there is such a process, and it has not ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def opened_by(pid):
    """What the file descriptors of a process refer to."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime
            found.add(str(path.readlink()))
    return found


def test_workers_share_an_application(start):
    server = start("shared")

    answer = server.ask()

    assert answer["made_by"] == answer["built_by"] == server.process.pid
    assert answer["answered_by"] in server.workers()
    assert len(server.workers()) == 3


def test_each_worker_makes_its_own_application_of_a_name(start):
    server = start("own")

    answer = server.ask()

    assert answer["made_by"] == answer["built_by"] == answer["answered_by"]
    assert answer["answered_by"] in server.workers()


def test_the_process_that_forks_has_one_thread_and_no_event_loop(start):
    server = start("shared")

    assert len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) == 1
    assert "anon_inode:[eventpoll]" not in opened_by(server.process.pid)
    assert "anon_inode:[eventpoll]" in opened_by(server.ask()["answered_by"])


@pytest.mark.parametrize("mode", MODES)
def test_a_worker_that_dies_is_replaced(start, mode):
    server = start(mode)
    assert soon(lambda: len(server.workers()) == 3)
    before = server.workers()
    os.kill(min(before), signal.SIGKILL)

    assert soon(lambda: len(server.workers()) == 3 and server.workers() != before)
    assert len(server.workers() & before) == 2
    assert {server.ask()["answered_by"] for _ in range(3)} <= server.workers()


@pytest.mark.parametrize("mode", MODES)
def test_workers_end_when_their_parent_is_killed(start, mode):
    server = start(mode)
    assert soon(lambda: len(server.workers()) == 3)
    os.kill(min(server.workers()), signal.SIGKILL)
    assert soon(lambda: len(server.workers()) == 3)  # the last worker was forked after the others
    workers = server.workers()
    assert soon(lambda: server.ask()["answered_by"] in workers)

    server.process.kill()
    killed = time.monotonic()

    assert soon(lambda: not any(map(is_running, workers)))
    assert time.monotonic() - killed < 5 + 1 + 4  # the shutdown timeout and the grace; then 4 s for a busy machine


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_two_signals_stop_all_workers(start, mode, number):
    server = start(mode)
    workers = server.workers()

    server.process.send_signal(number)
    for pid in workers:
        with suppress(ProcessLookupError):
            os.kill(pid, number)  # as a terminal does, which signals the whole group
    server.process.send_signal(number)

    assert server.process.wait(30) == 0
    assert not any(map(is_running, workers))


def test_workers_that_are_forked_while_a_signal_arrives_stop_as_well(tmp_path):
    """The handlers of the parent, which a worker has at first, would only note the signal."""
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "stopped.py").write_text(
        "import os, signal\n"
        "import application\n"
        "from contractapp.server import listen, serve\n"
        # Before the worker has replaced the handlers of its parent.
        "os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))\n"
        "serve(application.app, listen('127.0.0.1', 0), workers=2, shutdown_timeout_seconds=20)\n"
    )
    process = subprocess.Popen([sys.executable, "stopped.py"], cwd=tmp_path)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        assert soon(lambda: children.read_text() != "")
        first = children.read_text().split()
        assert soon(lambda: not any(map(is_running, first)))
    finally:
        process.kill()
        process.wait()


def test_workers_cannot_share_an_application_that_has_threads():
    done = Event()
    thread = Thread(target=done.wait, name="clock")
    thread.start()
    try:
        with listen("127.0.0.1", 0) as listener, pytest.raises(TypeError, match="would lack its thread '"):
            serve(lambda: None, listener, workers=2)
    finally:
        done.set()
        thread.join()


def test_workers_cannot_share_an_application_where_forks_are_unsafe(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")

    with listen("127.0.0.1", 0) as listener, pytest.raises(TypeError, match="as module:name"):
        serve(lambda: None, listener, workers=2)


def test_cores_are_those_that_the_process_may_use():
    core = min(os.sched_getaffinity(0))
    script = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); from contractapp import server; "
    run = [sys.executable, "-c", f"{script}print(server.available_cores())", str(core)]

    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "1\n"
    assert 1 <= available_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limits", "cpus"),
    [
        ({}, sys.maxsize),
        ({"": "max 100000"}, sys.maxsize),
        ({"": "150000 100000"}, 1.5),
        ({"": "400000 100000", "a/b": "50000 100000"}, 0.5),
        ({"a": "200000 100000", "a/b": "max 100000"}, 2),
        ({"other": "100000 100000"}, sys.maxsize),
    ],
)
def test_the_quota_is_the_least_of_the_control_groups(tmp_path, limits, cpus):
    process, root = tmp_path / "process", tmp_path / "root"
    for group, limit in limits.items():
        (root / group).mkdir(parents=True, exist_ok=True)
        (root / group / "cpu.max").write_text(f"{limit}\n")
    process.mkdir()
    (process / "cgroup").write_text("1:name=systemd:/elsewhere\n0::/a/b\n")

    assert supervisor.cpu_quota(process, root) == cpus


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert supervisor.cpu_quota(tmp_path) == sys.maxsize


@pytest.mark.parametrize(("quota", "cores"), [(0.2, 1), (1.5, 2), (sys.maxsize, 8)])
def test_a_part_of_a_core_counts_as_a_core(monkeypatch, quota, cores):
    monkeypatch.setattr(supervisor, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    assert available_cores() == cores
