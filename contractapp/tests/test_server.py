"""The server as a process: what it passes to the application, and how it stops."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import pytest

APPLICATION = """
import asyncio, json, os, sys
from pathlib import Path

from contractapp.server import listen, serve


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await asyncio.sleep(Path("slow-start").exists())
            Path(f"up-{os.getpid()}").touch()
            await send({"type": f"lifespan.{kind}.complete"})
        Path(f"ended-{os.getpid()}").touch()
        return
    if scope["path"] == "/slow":
        Path("starting").write_text(str(os.getpid()))
        Path("starting").rename("begun")
        while not Path("gate").exists():
            await asyncio.sleep(0.02)
    body = json.dumps({"client": scope["client"][0], "scheme": scope["scheme"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def make():
    return app


if __name__ == "__main__":
    listener = listen("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)
    given = app if sys.argv[3] == "shared" else "application:make"
    serve(
        given,
        listener,
        workers=int(sys.argv[1]),
        shutdown_timeout_seconds=float(sys.argv[2]),
        on_started=lambda: print(len(list(Path().glob("up-*"))), flush=True),
    )
"""

PROCESSES = [(1, "named"), (2, "named"), (2, "shared")]


@pytest.fixture
def start(tmp_path):
    """A function that starts a server with a number of workers, and returns its process and port once it answers."""
    (tmp_path / "application.py").write_text(APPLICATION)
    processes = []

    def start(workers, application="named", shutdown_timeout_seconds=60):
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [sys.executable, "application.py", str(workers), str(shutdown_timeout_seconds), application],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a new process group, which can be signalled as a terminal does
        )
        processes.append(process)
        port = int(process.stdout.readline())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60):
            return process, port

    yield start
    (tmp_path / "gate").touch()
    for process in processes:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()


def test_forwarded_headers_are_left_to_the_application(start):
    _, port = start(workers=1)
    headers = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers=headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        seen = json.load(response)

    assert seen == {"client": "127.0.0.1", "scheme": "http"}


def slow_request(port, folder):
    """A request in flight: the thread that waits for the response, and the list that will contain it."""
    answers = []

    def ask():
        connection = HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("GET", "/slow")
        answers.append(connection.getresponse().status)
        connection.close()

    thread = Thread(target=ask)
    thread.start()
    assert soon((Path(folder) / "begun").exists)
    return thread, answers


def soon(condition):
    """Whether the condition holds within 30 seconds."""
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_refused(port):
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    with suppress(OSError):
        connection.connect()
        connection.close()
        return False
    return True


@pytest.mark.parametrize("workers", [1, 2])
def test_it_says_once_that_all_workers_have_started(start, tmp_path, workers):
    (tmp_path / "slow-start").touch()
    process, _ = start(workers=workers)

    started = process.stdout.readline()
    time.sleep(0.6)  # the supervisor looks at its workers every half second
    process.send_signal(signal.SIGTERM)

    assert (started, process.stdout.read()) == (f"{workers}\n", "")
    assert process.wait(30) == 0


@pytest.mark.parametrize(("workers", "application"), PROCESSES)
def test_new_connections_are_refused_while_requests_in_flight_are_finished(start, tmp_path, workers, application):
    process, port = start(workers, application)
    flight, answers = slow_request(port, tmp_path)

    process.send_signal(signal.SIGTERM)
    refused = soon(lambda: is_refused(port))
    in_flight = flight.is_alive()
    (tmp_path / "gate").touch()
    flight.join()

    assert (refused, in_flight, answers) == (True, True, [200])
    assert process.wait(30) == 0


@pytest.mark.parametrize(("workers", "application"), PROCESSES)
def test_503_for_requests_in_flight_at_the_end_of_the_shutdown_timeout(start, tmp_path, workers, application):
    process, port = start(workers, application, shutdown_timeout_seconds=1)
    flight, answers = slow_request(port, tmp_path)

    process.send_signal(signal.SIGTERM)
    flight.join()

    assert answers == [503]
    assert process.wait(30) == 0


@pytest.mark.parametrize(("workers", "application"), PROCESSES)
def test_a_second_interrupt_ends_the_lifespan_without_waiting_for_requests(start, tmp_path, workers, application):
    process, port = start(workers, application)
    flight, answers = slow_request(port, tmp_path)

    os.killpg(process.pid, signal.SIGINT)
    assert soon(lambda: is_refused(port))
    while process.poll() is None:  # the first may come before the server has seen the signal above
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
    flight.join()

    assert (process.returncode, answers) == (0, [503])
    assert (tmp_path / f"ended-{(tmp_path / 'begun').read_text()}").exists()
