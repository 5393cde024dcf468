"""Idempotency keys across processes: equal requests to two servers at once, and processes that are killed.

`tests/faults/test_idempotency.py` kills the processes of a started server, more often.
"""

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.answering import answering

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("API_")}
ROUNDS = 6
CLIENTS = 8
KILLS = 15


@contextmanager
def running(*arguments, database_url, **options):
    """A process of Python in this folder, on the run's database; it is killed at the end."""
    environment = {**ENVIRONMENT, "PYTHONPATH": str(Path.cwd()), "DATABASE_URL": database_url}
    command = [sys.executable, "-W", "ignore", "-m", *arguments]
    process = subprocess.Popen(command, env=environment | options.pop("env", {}), text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()


@contextmanager
def serving(database_url):
    """The port of a server of one process. It waits for locks for as long as the others take on a busy machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"API_LOCK_TIMEOUT_SECONDS": "60", "API_REQUEST_TIMEOUT_SECONDS": "60", "API_LOG_LEVEL": "warning"}
    arguments = ("api", "serve", "--port", str(port))
    with running(*arguments, database_url=database_url, env=settings, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield port


@pytest.fixture(scope="module")
def servers(application, database_url):
    """The ports of two servers on the run's database, like two hosts behind a load balancer."""
    with serving(database_url) as one, serving(database_url) as other:
        yield one, other


def post(port, url, body, key):
    """Everything that has to be the same, byte for byte."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    connection.request("POST", url, json.dumps(body), headers)
    response = connection.getresponse()
    answer = response.status, [found for found in response.getheaders() if found[0].lower() != "date"], response.read()
    connection.close()
    return answer


@pytest.mark.parametrize("url", ["/api/users", "/api/posts"])
def test_equal_requests_to_two_servers_at_once_are_one(client, servers, make_user, url):
    author = make_user()["id"]
    for turn in range(ROUNDS):
        body = {
            "/api/users": {"username": f"same{turn}", "email": f"same{turn}@example.com"},
            "/api/posts": {"title": f"Same {turn}", "content": "Content", "user_id": author},
        }[url]
        before = len(client.get(url).json())
        with ThreadPoolExecutor(CLIENTS) as threads:
            sent = [threads.submit(post, servers[n % 2], url, body, f"{url}{turn}") for n in range(CLIENTS)]
            answers = [found.result() for found in sent]

        assert answers == [answers[0]] * CLIENTS
        assert answers[0][0] == 201
        assert len(client.get(url).json()) == before + 1


@pytest.fixture(scope="module")
def processes(application, database_url):
    """Sends a request to create a numbered user, which is answered in a process of its own."""
    with answering(database_url) as send:

        def create(number, **kill):
            body = {"username": f"user{number}", "email": f"user{number}@example.com"}
            return send("/api/users", body, f"key{number}", **kill)

        yield create


def test_201_after_the_process_was_killed_between_commit_and_answer(client, processes):
    killed = processes(1, at_answer=True)
    stored = client.get("/api/users").json()

    first, second = processes(1)["answer"], processes(1)["answer"]

    assert killed["answer"] is None
    assert [user["username"] for user in stored] == ["user1"]
    assert first == second
    assert (first[0], json.loads(first[2])) == (201, stored[0])
    assert client.get("/api/users").json() == stored


def test_201_and_one_row_whenever_the_process_is_killed(client, processes):
    longest = max(processes(number)["seconds"] for number in range(3))
    chance = random.Random(13)
    cut_off = 0
    for number in range(3, 3 + KILLS):
        killed = processes(number, kill_after=chance.uniform(0, longest))["answer"]
        cut_off += killed is None
        first, second = processes(number)["answer"], processes(number)["answer"]

        assert first[0] == 201
        assert first == second
        assert killed in (None, first)

    users = client.get("/api/users").json()
    assert [user["username"] for user in users] == [f"user{number}" for number in range(3 + KILLS)]
    assert cut_off > 0
