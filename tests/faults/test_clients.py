"""Clients that are slow, idle, disconnected or too many do not affect other clients."""

import contextlib
import json
import secrets
import socket
import struct
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

LIVE, READY, USERS, POSTS = "/api/health/live", "/api/health/ready", "/api/users", "/api/posts"
REQUEST = b"GET /api/users HTTP/1.1\r\nHost: faults\r\n\r\n"


@contextmanager
def connected(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        yield connection


def reset(connection):
    """Close the connection with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def usage(pid):
    """Threads, open descriptors and resident KiB of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["Threads"]), len(list(Path(f"/proc/{pid}/fd").iterdir())), int(status["VmRSS"].split()[0])


def settled(pid, descriptors, *, seconds=5):
    """The usage once no more than that many descriptors are open."""
    end = time.monotonic() + seconds
    while usage(pid)[1] > descriptors and time.monotonic() < end:
        time.sleep(0.1)
    return usage(pid)


def others(server, count=30):
    """Send the requests of ordinary clients: all responses, and the seconds that the slowest one took."""
    answers = [server.get(path) for _ in range(count // 2) for path in (LIVE, USERS)]
    return {answer.status for answer in answers}, max(answer.seconds for answer in answers)


SLOW_REQUESTS = {
    "headers": b"GET /api/users HTTP/1.1\r\nHost: faults\r\nX-Slow: " + b"x" * 10_000,
    "body": b"POST /api/users HTTP/1.1\r\nHost: faults\r\nContent-Type: application/json\r\n"
    b"Content-Length: 10000\r\n\r\n" + b" " * 9_000,
}


@pytest.mark.parametrize("part", list(SLOW_REQUESTS))
def test_clients_that_send_a_byte_at_a_time(part, serve, sqlite, figure):
    server = serve(sqlite.url)
    request = SLOW_REQUESTS[part]
    quick = 0 if part == "headers" else request.index(b"\r\n\r\n") + 4
    closed = []

    def drip(connection, start):
        try:
            connection.sendall(request[:quick])
            for number in range(quick, len(request)):
                connection.sendall(request[number : number + 1])
                time.sleep(0.1)
        except OSError:
            closed.append(time.monotonic() - start)

    with ExitStack() as stack:
        connections = [stack.enter_context(connected(server)) for _ in range(50)]
        drips = [threading.Thread(target=drip, args=(c, time.monotonic())) for c in connections]
        for thread in drips:
            thread.start()
        seen, slowest = others(server)
        for thread in drips:
            thread.join(10)

    assert seen == {200}
    assert slowest < 0.5
    # The request timeout is 2 s; a client notices at its second byte after that.
    assert len(closed) == 50
    assert max(closed) < 4
    figure(f"others within {slowest * 1000:.0f} ms; 50 slow ones gone after {max(closed):.1f} s (request timeout 2 s)")


def test_idle_connections(serve, sqlite, figure):
    server = serve(sqlite.url)
    (pid,) = server.worker_pids()
    _, descriptors, _ = usage(pid)
    with ExitStack() as stack:
        for number in range(1000):
            connection = stack.enter_context(connected(server))
            if number % 2:  # half of them have been served before
                connection.sendall(REQUEST)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        threads, held, _ = usage(pid)
        seen, slowest = others(server)

    assert seen == {200}
    assert slowest < 0.5
    assert settled(pid, descriptors + 10)[1] <= descriptors + 10
    figure(f"others within {slowest * 1000:.0f} ms; {held - descriptors} descriptors held, {threads} threads")


def test_more_idle_connections_than_the_server_holds(serve, sqlite, figure):
    # 2,048; those beyond wait in the kernel until idle ones have been closed.
    server = serve(sqlite.url)
    with ExitStack() as stack:
        for _ in range(2500):
            stack.enter_context(connected(server))
        answers = server.ask_all([("GET", USERS, None)] * 20)

    assert {answer.status for answer in answers} == {200}
    slowest = max(answer.seconds for answer in answers)
    assert slowest < 4  # the request timeout is 2 s
    assert others(server)[0] == {200}
    figure(f"others within {slowest:.1f} s behind 2,500 idle ones (request timeout 2 s)")


def half_a_request(connection):
    connection.sendall(b"POST /api/users HTTP/1.1\r\nHost: faults\r\nContent-Type: application/json\r\n")
    connection.sendall(b'Content-Length: 1000\r\n\r\n{"username": "')


def a_whole_request(connection):
    connection.sendall(REQUEST)


def a_request_whose_answer_begins(connection):
    connection.sendall(b"GET /api/posts HTTP/1.1\r\nHost: faults\r\n\r\n")
    connection.recv(1000)


@pytest.mark.parametrize("sent", [half_a_request, a_whole_request, a_request_whose_answer_begins])
def test_clients_that_vanish(sent, serve, sqlite, figure):
    server = serve(sqlite.url)
    (pid,) = server.worker_pids()
    with_long_posts(server, 20)

    def vanish(times):
        for _ in range(times):
            with connected(server) as connection:
                sent(connection)
                reset(connection)

    others(server)
    _, descriptors, _ = usage(pid)
    vanish(200)  # a warm-up, which is not measured
    allowed = descriptors + 20  # connections to the database that were not open before
    threads, _, before = settled(pid, allowed)
    vanish(400)
    seen, slowest = others(server)
    after = settled(pid, allowed)

    assert seen == {200}
    assert slowest < 0.5
    assert after[0] <= threads
    assert after[1] <= allowed
    assert after[2] - before < 20_000
    figure(f"others within {slowest * 1000:.0f} ms; {after[2] - before:+} KiB, {after[0] - threads:+} threads")


def test_clients_that_vanish_while_their_writes_wait(serve, database, figure):
    server = serve(
        database.url, API_LOCK_TIMEOUT_SECONDS=5, API_STATEMENT_TIMEOUT_SECONDS=5, API_REQUEST_TIMEOUT_SECONDS=5
    )
    (pid,) = server.worker_pids()
    others(server)
    _, descriptors, _ = usage(pid)

    with database.closed_to_writers():
        for _ in range(100):
            method, path, body = server.new_user()
            content = json.dumps(body).encode()
            head = f"{method} {path} HTTP/1.1\r\nHost: faults\r\nContent-Type: application/json\r\n"
            with connected(server) as connection:
                connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
                time.sleep(0.005)
                reset(connection)
        seen, slowest = others(server)
    after = server.post_user()

    assert seen == {200}
    assert slowest < 0.5
    assert after.status == 201
    assert after.seconds < 2
    assert settled(pid, descriptors + 20)[1] <= descriptors + 20
    figure(f"others within {slowest * 1000:.0f} ms; the next write {after.seconds:.2f} s after the lock")


def test_clients_that_do_not_read_their_answer(serve, sqlite, figure):
    server = serve(sqlite.url)
    with_long_posts(server, 50)
    with ExitStack() as stack:
        for _ in range(20):
            connection = socket.socket()
            stack.enter_context(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(b"GET /api/posts HTTP/1.1\r\nHost: faults\r\n\r\n")
        seen, slowest = others(server)

    assert seen == {200}
    assert slowest < 0.5
    figure(f"others within {slowest * 1000:.0f} ms while 20 clients do not read their answers of 3 MB")


def test_more_connections_than_descriptors(serve, sqlite, figure):
    server = serve(sqlite.url, wrapper=["sh", "-c", 'ulimit -n 128 && exec "$@"', "sh"])
    server.post_user()
    flood = []
    for _ in range(300):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", server.port))
        flood.append(connection)
    time.sleep(1)
    with contextlib.suppress(OSError):
        flood[0].sendall(REQUEST)
    for connection in flood:
        connection.close()
    recovery = server.until(READY, 200)

    assert server.post_user().status == 201
    assert others(server)[0] == {200}
    assert server.stop()[0] == 0
    figure(f"serves again {recovery:.2f} s after 300 connections (128 descriptors) have gone")


def with_long_posts(server, count):
    author = server.post_user().body["id"]
    for _ in range(count):
        body = {"title": "Long", "content": secrets.token_hex(30_000), "user_id": author}
        assert server.ask("POST", POSTS, body).status == 201
