"""Behind PgBouncer in transaction mode: many clients share a server connection, one transaction after another.

A prepared statement or a setting that a client leaves on the connection is visible to the next client that uses it.
"""

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from tests.debian import find
from tests.faults.test_idempotency import post

USERS = "/api/users"
SERVER_CONNECTIONS = 4

CONFIGURATION = """
[databases]
{role} = host={host} port=5432 dbname={role} user={role}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 200
"""


class Pooler(NamedTuple):
    """PgBouncer in front of a database, and the URL of the database behind it."""

    url: str
    log: Path


@pytest.fixture
def pool(postgresql, open_folder, free_port) -> Iterator[Callable[..., Pooler]]:
    """Starts PgBouncer in front of the test's database."""
    processes = []

    def start(mode: str = "transaction") -> Pooler:
        port = free_port()
        host = postgresql.cluster.socket_folder
        settings = CONFIGURATION.format(role=postgresql.role, host=host, port=port, mode=mode, size=SERVER_CONNECTIONS)
        file = open_folder / f"{postgresql.role}-{mode}.ini"
        file.write_text(settings)
        log = file.with_suffix(".log")
        owner = postgresql.cluster.owner if os.geteuid() == 0 else None  # PgBouncer refuses to run as root
        with log.open("wb") as output:
            processes.append(subprocess.Popen([find("pgbouncer"), file], stdout=output, stderr=output, user=owner))
        pooler = Pooler(f"postgresql://{postgresql.role}@127.0.0.1:{port}/{postgresql.role}", log)
        _wait_for(pooler)
        return pooler

    yield start
    for process in processes:
        process.terminate()
        process.wait(10)


def _wait_for(pooler: Pooler) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            psycopg.connect(pooler.url).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, pooler.log.read_text()
            time.sleep(0.05)
        else:
            return


def test_two_services_delete_the_users_they_are_asked_to_and_no_others(serve, pool, postgresql, figure):
    pooler = pool()
    servers = [serve(pooler.url, workers=1, **PATIENT), serve(pooler.url, workers=1, **PATIENT)]
    users = _store(postgresql, 700)
    chance = random.Random(9)
    doomed = set(chance.sample(sorted(users), 200))
    kept = sorted(set(users) - doomed)
    requests = [("DELETE", user) for user in doomed] + [("GET", chance.choice(kept)) for _ in range(2000)]
    chance.shuffle(requests)

    with ThreadPoolExecutor(16) as clients:
        futures = [
            clients.submit(servers[number % 2].ask, method, f"{USERS}/{user}")
            for number, (method, user) in enumerate(requests)
        ]
        answers = [future.result() for future in futures]

    stored = postgresql.usernames()
    expected = {users[user]["username"] for user in kept}
    others = [answer.status for answer in answers if answer.status != 200]
    figure(f"{len(expected - stored)} users lost that no client deleted; {len(others)} of 2200 answers were not 200")
    assert stored == expected
    assert others == []
    for (method, user), answer in zip(requests, answers, strict=True):
        assert answer.body == (users[user] if method == "GET" else {"message": "User deleted successfully"})


def test_two_services_create_one_post_for_one_idempotency_key(serve, pool, postgresql):
    pooler = pool()
    servers = [serve(pooler.url, **PATIENT), serve(pooler.url, **PATIENT)]
    author = servers[0].post_user().body["id"]
    for number in range(20):
        body = {"title": f"Post {number}", "content": "Content", "user_id": author}
        with ThreadPoolExecutor(8) as clients:
            sent = [clients.submit(post, servers[n % 2].port, "/api/posts", body, f"key{number}") for n in range(8)]
            answers = [found.result() for found in sent]

        assert answers == [answers[0]] * 8
        assert answers[0][0] == 201

    with postgresql.connect() as connection:
        assert connection.execute("SELECT count(*) FROM posts").fetchone() == (20,)


def test_timeouts_are_in_force_and_do_not_affect_other_clients(serve, pool, postgresql, figure):
    pooler = pool()
    server = serve(
        pooler.url, API_LOCK_TIMEOUT_SECONDS=0.5, API_STATEMENT_TIMEOUT_SECONDS=1.5, API_REQUEST_TIMEOUT_SECONDS=20
    )
    with postgresql.closed_to_writers():
        locked = server.post_user()
    with psycopg.connect(pooler.url, autocommit=True) as stranger:
        stranger.execute("CREATE VIEW slow AS SELECT pg_sleep(10)::text")
        stranger.execute("ALTER TABLE users RENAME TO kept")
        stranger.execute("CREATE VIEW users AS SELECT kept.* FROM kept, slow")
    with postgresql.connect() as owner:
        owner.execute("INSERT INTO kept (username, email) VALUES ('ann', 'ann@example.com')")
    slow = server.get(USERS)

    assert (locked.status, slow.status) == (503, 503)
    assert 0.4 < locked.seconds < 10
    assert 1.4 < slow.seconds < 9
    assert _met_by_others(pooler) == {("0", "0")}
    figure(f"a lock {locked.seconds:.2f} s (limit 0.5), a statement {slow.seconds:.2f} s (limit 1.5)")


def test_a_pooler_that_takes_no_transactions_stops_the_start_with_a_sentence(serve, pool):
    server = serve(pool("statement").url, wait=False)

    assert server.process.wait(20) == 1
    (sentence,) = server.log.read_text().splitlines()
    assert sentence.startswith("The database cannot be used: ")
    assert "transaction" in sentence


def _met_by_others(pooler):
    """The timeouts of every server connection, as another client of the pooler sees them."""
    clients = [psycopg.connect(pooler.url) for _ in range(SERVER_CONNECTIONS)]
    try:  # all transactions stay open, so that each has a server connection of its own
        statement = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
        return {client.execute(statement).fetchone() for client in clients}
    finally:
        for client in clients:
            client.close()


def _store(postgresql, count):
    """Store this many users; their JSON by id."""
    with postgresql.connect() as connection:
        rows = connection.execute(
            "INSERT INTO users (username, email) SELECT 'u' || n, 'u' || n || '@example.com'"
            " FROM generate_series(1, %s) AS n RETURNING id, username, email",
            [count],
        ).fetchall()
    return {row[0]: dict(zip(("id", "username", "email"), row, strict=True)) for row in rows}


PATIENT = {
    "API_LOCK_TIMEOUT_SECONDS": 30,
    "API_STATEMENT_TIMEOUT_SECONDS": 30,
    "API_POOL_TIMEOUT_SECONDS": 30,
    "API_REQUEST_TIMEOUT_SECONDS": 30,
}
