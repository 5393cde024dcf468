"""Clients that read, change and write one row with If-Match, across two worker processes: no change is lost."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.applications import PATIENT

CLIENTS = 32
TURNS = 2


@pytest.fixture(scope="module")
def port(application, database_url):
    """The port of `api serve` with two workers, on the run's database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {name: str(seconds) for name, seconds in PATIENT.items()}
    environment = {**os.environ, **settings, "DATABASE_URL": database_url, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-m", "api", "serve", "--port", str(port), "--workers", "2"]
    server = subprocess.Popen(command, env=environment)
    _wait_until_ready(port, server)
    yield port
    server.send_signal(signal.SIGTERM)
    server.wait()


def _wait_until_ready(port, server):
    while server.poll() is None:
        with suppress(OSError), closing(HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("GET", "/api/health/ready")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.05)
    raise AssertionError("The server did not start.")


class Client:
    """One client, with a connection that it keeps open."""

    def __init__(self, port):
        self.connection = HTTPConnection("127.0.0.1", port)

    def ask(self, method, url, body=None, **headers):
        """Status, tag and body of the response."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            headers["Content-Type"] = "application/json"
        self.connection.request(method, url, None if body is None else json.dumps(body), headers)
        response = self.connection.getresponse()
        content = response.read()
        return response.status, response.getheader("ETag"), json.loads(content) if content else None

    def add_one(self, url, member):
        """Add 1 to the number in a member as often as it takes; the tags before and after."""
        while True:
            _, tag, row = self.ask("GET", url)
            number = int(row[member].removeprefix("number "))
            status, now, _ = self.ask("PUT", url, {member: f"number {number + 1}"}, If_Match=tag)
            if status == 200:
                return tag, now
            assert status == 412
            assert now != tag


@pytest.mark.parametrize(("url", "member"), [("/api/users/1", "username"), ("/api/posts/1", "title")])
def test_the_sum_of_all_changes_is_right(port, make_post, make_user, url, member):
    make_user(username="number 0")
    make_post(user_id=1, title="number 0")

    def add(_):
        client = Client(port)
        with closing(client.connection):
            return [client.add_one(url, member) for _ in range(TURNS)]

    with ThreadPoolExecutor(CLIENTS) as threads:
        steps = dict(step for found in threads.map(add, range(CLIENTS)) for step in found)
    with closing((client := Client(port)).connection):
        _, tag, row = client.ask("GET", url)

    assert row[member] == f"number {CLIENTS * TURNS}"
    assert len(steps) == CLIENTS * TURNS  # each success has its own state before it
    assert chain(steps, first=tag.replace(str(CLIENTS * TURNS + 1), "1", 1)) == [*range(2, CLIENTS * TURNS + 2)]


def chain(steps, first):
    """The versions that follow each other, from the first tag to the last."""
    found, tag = [], first
    while tag in steps:
        tag = steps[tag]
        found.append(int(re.match(r'"(\d+)', tag)[1]))
    return found


@pytest.mark.parametrize("url", ["/api/users/1", "/api/posts/1"])
def test_one_of_all_deletes_of_one_state_succeeds(port, make_post, make_user, url):
    make_user()
    make_post(user_id=1)

    def change(number):
        client = Client(port)
        with closing(client.connection):
            if number % 2:
                return client.ask("DELETE", url, If_Match=tag)[0]
            body = {"email": f"e{number}@example.com"} if "users" in url else {"title": f"t{number}"}
            return client.ask("PUT", url, body, If_Match=tag)[0]

    with closing((client := Client(port)).connection):
        _, tag, _ = client.ask("GET", url)
    with ThreadPoolExecutor(CLIENTS) as threads:
        statuses = Counter(threads.map(change, range(CLIENTS)))

    # If a DELETE was first, the others find no row; if a PUT was first, they find another state.
    assert statuses in ({200: 1, 404: CLIENTS - 1}, {200: 1, 412: CLIENTS - 1})
