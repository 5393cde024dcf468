"""Stopping by signal or by kill: accepted requests are finished, and acknowledged writes are stored."""

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

USERS, READY = "/api/users", "/api/health/ready"
REQUEST = b"GET /api/users HTTP/1.1\r\nHost: faults\r\n\r\n"


@contextmanager
def writing(server, *, clients=8):
    """Several clients write without pause; yields the acknowledged names and all names that were sent."""
    acknowledged, tried, done = [], [], threading.Event()

    def write():
        while not done.is_set():
            method, path, body = server.new_user()
            tried.append(body["username"])
            if server.ask(method, path, body, seconds=5).status == 201:
                acknowledged.append(body["username"])
            elif done.wait(0.05):
                return

    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(write) for _ in range(clients)]
        try:
            yield acknowledged, tried
        finally:
            done.set()
    for future in futures:
        future.result()


def is_refused(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("workers", [1, 2])
def test_running_requests_are_finished(signum, workers, serve, database, figure):
    server = serve(
        database.url,
        workers=workers,
        API_LOCK_TIMEOUT_SECONDS=10,
        API_STATEMENT_TIMEOUT_SECONDS=10,
        API_REQUEST_TIMEOUT_SECONDS=10,
        API_SHUTDOWN_TIMEOUT_SECONDS=10,
    )
    answers = []
    flight = threading.Thread(target=lambda: answers.extend(server.ask_all([server.new_user() for _ in range(10)])))

    with database.closed_to_writers():
        flight.start()
        time.sleep(0.5)
        server.process.send_signal(signum)
        time.sleep(0.7)
        refused = is_refused(server.port)
    unlocked = time.monotonic()
    status = server.process.wait(10)
    seconds = time.monotonic() - unlocked
    flight.join()

    assert status == 0
    assert refused
    assert [answer.status for answer in answers] == [201] * 10
    assert len(database.usernames()) == 10
    figure(f"10 running requests finished, exit 0 {seconds:.2f} s after the lock was released")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stuck_request_does_not_keep_the_server_from_stopping(workers, serve, database, figure):
    server = serve(
        database.url,
        workers=workers,
        API_LOCK_TIMEOUT_SECONDS=60,
        API_STATEMENT_TIMEOUT_SECONDS=60,
        API_REQUEST_TIMEOUT_SECONDS=60,
        API_SHUTDOWN_TIMEOUT_SECONDS=2,
    )
    answers = []
    flight = threading.Thread(target=lambda: answers.extend(server.ask_all([server.new_user() for _ in range(10)])))

    with database.closed_to_writers():
        flight.start()
        time.sleep(0.5)
        status, seconds = server.stop()
        left = is_refused(server.port)
    flight.join()

    assert status == 0
    # The timeout, the half second between two checks of the supervisor, and time for a busy machine to end processes.
    assert seconds < 2 + 0.5 + 2
    assert left
    assert {answer.status for answer in answers} <= {0, 503}
    assert not database.usernames()
    figure(f"exit 0 after {seconds:.2f} s (shutdown timeout 2 s)")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_idle_server_stops_at_once(workers, serve, sqlite, figure):
    server = serve(sqlite.url, workers=workers)
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for connection in idle[::2]:  # kept alive between two requests
        connection.sendall(REQUEST)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")

    status, seconds = server.stop()

    assert status == 0
    assert seconds < 3  # the shutdown timeout: no request was running
    for connection in idle:
        connection.close()
    figure(f"exit 0 after {seconds:.2f} s, with twenty idle connections")


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_that_do_not_finish_do_not_keep_the_server_from_stopping(workers, serve, sqlite, figure):
    server = serve(sqlite.url, workers=workers, API_REQUEST_TIMEOUT_SECONDS=60)
    author = server.post_user().body["id"]
    for _ in range(20):
        body = {"title": "Long", "content": "x" * 60_000, "user_id": author}
        assert server.ask("POST", "/api/posts", body).status == 201
    half = b"POST /api/users HTTP/1.1\r\nHost: faults\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    unread = b"GET /api/posts HTTP/1.1\r\nHost: faults\r\n\r\n"
    connections = []
    for sent in (half, unread, REQUEST[:20]) * 4:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(sent)
        connections.append(connection)
    time.sleep(0.3)

    status, seconds = server.stop()

    assert status == 0
    assert seconds < 3 + 1.5  # the shutdown timeout, and time for a busy machine
    for connection in connections:
        connection.close()
    figure(f"exit 0 after {seconds:.2f} s (shutdown timeout 3 s)")


def test_a_stop_just_after_the_start(serve, sqlite, figure):
    server = serve(sqlite.url, workers=2, wait=False)
    while not server.worker_pids() or server.worker_pids() == [server.process.pid]:
        assert server.process.poll() is None
        time.sleep(0.001)

    status, seconds = server.stop()

    assert status == 0
    assert seconds < 3  # no request was running; a worker that is not ready yet stops as well
    figure(f"exit 0 after {seconds:.2f} s (shutdown timeout 3 s)")


def test_a_signal_to_the_whole_group_stops_it_as_well(serve, sqlite, figure):
    # Ctrl-C in a terminal signals the whole group.
    server = serve(sqlite.url, workers=2)

    start = time.monotonic()
    os.killpg(server.process.pid, signal.SIGINT)
    time.sleep(0.1)
    os.killpg(server.process.pid, signal.SIGINT)  # Ctrl-C a second time, before the server has stopped

    assert server.process.wait(10) == 0
    figure(f"exit 0 after {time.monotonic() - start:.2f} s")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_under_load_answers_every_request_that_is_carried_out(workers, serve, database, figure):
    server = serve(database.url, workers=workers, API_LOCK_TIMEOUT_SECONDS=5)
    with writing(server) as (acknowledged, _):
        time.sleep(1)
        status, seconds = server.stop()

    assert status == 0
    assert len(acknowledged) > 50
    assert database.usernames() == set(acknowledged)
    figure(f"exit 0 after {seconds:.2f} s; {len(acknowledged)} acknowledged, no more and no less stored")


@pytest.mark.parametrize("workers", [1, 2])
def test_acknowledged_writes_survive_a_killed_server(workers, serve, database, figure):
    server = serve(database.url, workers=workers, API_LOCK_TIMEOUT_SECONDS=5)
    with writing(server) as (acknowledged, tried):
        time.sleep(2)
        server.kill()

    again = serve(database.url, workers=workers)
    stored = database.usernames()

    assert len(acknowledged) > 50
    assert not set(acknowledged) - stored
    assert stored <= set(tried)
    assert again.post_user().status == 201
    figure(f"{len(acknowledged)} acknowledged, {len(set(acknowledged) - stored)} lost")


def test_acknowledged_writes_survive_a_killed_database(serve, postgresql, figure):
    server = serve(postgresql.url, API_LOCK_TIMEOUT_SECONDS=5)
    with writing(server) as (acknowledged, tried):
        time.sleep(1.5)
        postgresql.cluster.kill()
        before = len(acknowledged)
        postgresql.cluster.start()
        recovery = server.until(READY, 200)
        time.sleep(1)

    stored = postgresql.usernames()

    assert before > 50
    assert len(acknowledged) > before  # by the same server, without a restart
    assert not set(acknowledged) - stored
    assert stored <= set(tried)
    figure(
        f"{len(acknowledged)} acknowledged, {before} of them before, {len(set(acknowledged) - stored)} lost; "
        f"ready {recovery:.2f} s after the start"
    )


def test_a_killed_worker_is_replaced_while_the_other_serves(serve, database, figure):
    server = serve(database.url, workers=2, API_LOCK_TIMEOUT_SECONDS=5)
    victim, other = server.worker_pids()
    with writing(server) as (acknowledged, _):
        time.sleep(1)
        os.kill(victim, signal.SIGKILL)
        killed, before = time.monotonic(), len(acknowledged)
        while victim in server.worker_pids() or len(server.worker_pids()) < 2:
            assert time.monotonic() - killed < 10
            time.sleep(0.05)
        replaced = time.monotonic() - killed
        time.sleep(1)

    stored = database.usernames()

    assert len(acknowledged) > before + 20
    assert other in server.worker_pids()
    assert not set(acknowledged) - stored
    assert {answer.status for answer in server.ask_all([("GET", READY, None)] * 50)} == {200}
    assert server.stop()[0] == 0
    figure(f"replaced after {replaced:.2f} s; {len(acknowledged)} acknowledged, none lost")


def test_workers_killed_together_are_replaced(serve, sqlite, figure):
    server = serve(sqlite.url, workers=2)
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGKILL)

    recovery = server.until(READY, 200)

    assert server.post_user().status == 201
    assert server.stop()[0] == 0
    figure(f"ready {recovery:.2f} s after both were killed")


def test_a_worker_that_keeps_dying_is_replaced_each_time(serve, sqlite, figure):
    server = serve(sqlite.url, workers=2, API_LOCK_TIMEOUT_SECONDS=5)
    victim, other = server.worker_pids()
    with writing(server) as (acknowledged, _):
        start = time.monotonic()
        for _ in range(3):
            os.kill(victim, signal.SIGKILL)
            while len(server.worker_pids()) < 2 or victim in server.worker_pids():
                assert time.monotonic() - start < 20
                time.sleep(0.01)
            (victim,) = set(server.worker_pids()) - {other}
        seconds = time.monotonic() - start

    assert other in server.worker_pids()
    assert not set(acknowledged) - sqlite.usernames()
    assert server.post_user().status == 201
    assert server.stop()[0] == 0
    figure(f"replaced three times in {seconds:.2f} s; {len(acknowledged)} acknowledged, none lost")


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_outlive_a_killed_parent(workers, serve, database, figure):
    server = serve(database.url, workers=workers, API_LOCK_TIMEOUT_SECONDS=5)
    with writing(server) as (acknowledged, _):
        time.sleep(0.5)
        start = time.monotonic()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(5)
        while not is_refused(server.port):
            assert time.monotonic() - start < 10
            time.sleep(0.05)
        seconds = time.monotonic() - start
    again = serve(database.url, port=server.port)

    assert len(acknowledged) > 10
    assert not set(acknowledged) - database.usernames()
    assert again.post_user().status == 201
    figure(f"the port is free after {seconds:.2f} s; {len(acknowledged)} acknowledged, none lost")


def test_a_stuck_worker_does_not_outlive_a_killed_parent(serve, sqlite, figure):
    server = serve(sqlite.url, workers=2, API_LOCK_TIMEOUT_SECONDS=60, API_REQUEST_TIMEOUT_SECONDS=60)
    flight = threading.Thread(target=server.post_user)

    with sqlite.closed_to_writers():
        flight.start()
        time.sleep(0.5)
        os.kill(server.process.pid, signal.SIGKILL)
        flight.join(5)
        stuck = flight.is_alive()
    flight.join()

    assert not stuck
    figure("ended within the shutdown timeout of 3 s")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_in_use_stops_the_start_with_a_sentence(host, serve, sqlite):
    first = serve(sqlite.url)
    second = serve(sqlite.url, port=first.port, host=host, wait=False)

    status = second.process.wait(10)

    assert status == 1
    assert second.log.read_text().splitlines() == [
        f"Cannot listen on {host}, port {first.port}: Address already in use."
    ]
    assert first.get(READY).status == 200


def test_an_unknown_host_stops_the_start_with_a_sentence(serve, sqlite):
    server = serve(sqlite.url, host="nowhere.invalid", wait=False)

    assert server.process.wait(20) == 1
    (sentence,) = server.log.read_text().splitlines()
    assert sentence.startswith(f"Cannot listen on nowhere.invalid, port {server.port}: ")


def test_two_servers_started_at_once_on_an_empty_database_do_not_collide(serve, database):
    servers = [serve(database.url, workers=2, wait=False) for _ in range(3)]

    for server in servers:
        server.until("/api/health/live", 200)
    created = [server.post_user() for server in servers]

    assert [server.get(READY).status for server in servers] == [200] * 3
    assert [answer.status for answer in created] == [201] * 3
    assert len(database.usernames()) == 3
