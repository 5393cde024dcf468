"""Writes to SQLite that wait at the same time share a COMMIT, and each that was answered survives kill -9."""

import json
import re
import socket
import struct
from contextlib import closing

LIVE = "/api/health/live"
COUNT = 32


def send(server):
    """The socket of a request that creates a user; its response is not read yet."""
    method, path, body = server.new_user()
    content = json.dumps(body)
    head = f"{method} {path} HTTP/1.1\r\nHost: faults\r\nConnection: close\r\nContent-Type: application/json\r\n"
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n{content}".encode())
    return connection


def response(connection):
    with closing(connection), connection.makefile("rb") as stream:
        return stream.read().decode()


def commits(log):
    """The number of transactions in a write-ahead log: its frames that have the size of the database after a COMMIT."""
    content = log.read_bytes()
    (page_size,) = struct.unpack_from(">I", content, 8)
    salts = content[16:24]
    frames = range(32, len(content) - 23, 24 + page_size)
    current = [frame for frame in frames if content[frame + 8 : frame + 16] == salts]
    return sum(struct.unpack_from(">I", content, frame + 4) != (0,) for frame in current)


def test_concurrent_creates_share_commits_and_survive_kill_9(serve, sqlite, figure):
    server = serve(sqlite.url, API_LOCK_TIMEOUT_SECONDS="60", API_REQUEST_TIMEOUT_SECONDS="60")
    server.post_user()  # the connections are open now
    log = sqlite.path.with_name(f"{sqlite.path.name}-wal")
    before = commits(log)

    with sqlite.closed_to_writers():
        waiting = [send(server) for _ in range(COUNT)]
        for _ in range(3):
            assert server.get(LIVE).status == 200  # came after them, so that they wait for the lock now
    responses = [response(connection) for connection in waiting]
    server.kill()
    shared = commits(log) - before

    assert [text.split()[1] for text in responses] == ["201"] * COUNT
    names = {re.search(r'"username":"([^"]+)"', text).group(1) for text in responses}
    assert len(names) == COUNT
    assert names <= sqlite.usernames()
    assert 0 < shared < COUNT
    figure(f"{COUNT} rows in {shared} transactions")
