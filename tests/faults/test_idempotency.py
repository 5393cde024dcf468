"""Idempotency keys on a started server: its workers are killed while they create rows, and clients send again."""

import http.client
import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

from tests.answering import answering

KILLS = 200
KILLS_OF_A_WORKER = 15  # a server takes a second or more to replace one
CLIENTS = 16
ROUNDS = 50
SLOW = {"API_REQUEST_TIMEOUT_SECONDS": 60}


def post(port, url, body, key):
    """Everything that has to be the same, byte for byte; None if there was no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        connection.request("POST", url, json.dumps(body), headers)
        response = connection.getresponse()
        headers = [found for found in response.getheaders() if found[0].lower() != "date"]
        return response.status, headers, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def post_until_answered(port, *request):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        answer = post(port, *request)
        if answer is not None and answer[0] not in {409, 503}:
            return answer
        time.sleep(0.02)
    raise AssertionError("The server does not answer.")


def titles(database):
    with closing(database.connect()) as connection:
        return [title for (title,) in connection.execute("SELECT title FROM posts ORDER BY id").fetchall()]


def test_201_and_one_row_whenever_a_process_is_killed(serve, database, figure):
    author = serve(database.url).post_user().body["id"]
    chance = random.Random(13)
    cut_off, after_commit = 0, 0
    with answering(sqlalchemy_url(database)) as send:

        def create(number, **kill):
            return send("/api/posts", body_of(number, author), f"key{number}", **kill)

        longest = max(create(number)["seconds"] for number in range(5))
        for number in range(5, 5 + KILLS):
            killed = create(number, kill_after=chance.uniform(0, longest))["answer"]
            cut_off += killed is None
            after_commit += killed is None and len(titles(database)) > number
            first, second = create(number)["answer"], create(number)["answer"]

            assert first[0] == 201
            assert first == second
            assert killed in (None, first)

    assert titles(database) == [f"Post {number}" for number in range(5 + KILLS)]
    assert cut_off > KILLS / 4
    figure(f"{KILLS} kills, {cut_off} requests cut off, {after_commit} of them after the commit")


def sqlalchemy_url(database):
    return database.url.replace("postgresql://", "postgresql+psycopg://")


def test_201_and_one_row_whenever_a_worker_is_killed(serve, database, figure):
    server = serve(database.url, workers=2, API_LOCK_TIMEOUT_SECONDS=5, API_REQUEST_TIMEOUT_SECONDS=20)
    author = server.post_user().body["id"]
    chance = random.Random(20)
    cut_off = 0
    for number in range(KILLS_OF_A_WORKER):
        request = ("/api/posts", body_of(number, author), f"key{number}")
        with ThreadPoolExecutor(1) as thread:
            sent = thread.submit(post, server.port, *request)
            time.sleep(chance.uniform(0, 0.02))
            for pid in server.worker_pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            killed = sent.result()
        cut_off += killed is None
        answer = post_until_answered(server.port, *request)

        assert answer[0] == 201
        assert killed in (None, answer)
        assert post_until_answered(server.port, *request) == answer

    assert titles(database) == [f"Post {number}" for number in range(KILLS_OF_A_WORKER)]
    assert cut_off > 0
    figure(f"{KILLS_OF_A_WORKER} times all workers killed, {cut_off} requests cut off")


def body_of(number, author):
    return {"title": f"Post {number}", "content": "Content", "user_id": author}


def test_equal_requests_to_two_workers_at_once_are_one(serve, database, figure):
    server = serve(database.url, workers=2, API_LOCK_TIMEOUT_SECONDS=20, API_REQUEST_TIMEOUT_SECONDS=30)
    author = server.post_user().body["id"]
    longest = 0.0
    for number in range(ROUNDS):
        request = ("/api/posts", body_of(number, author), f"key{number}")
        start = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as threads:
            answers = list(threads.map(lambda _: post(server.port, *request), range(CLIENTS)))  # noqa: B023
        longest = max(longest, time.monotonic() - start)

        assert answers == [answers[0]] * CLIENTS
        assert answers[0][0] == 201

    assert titles(database) == [f"Post {number}" for number in range(ROUNDS)]
    figure(f"{ROUNDS} times {CLIENTS} equal requests at once, at most {longest:.2f} s")


def test_409_while_the_first_request_waits_on_another_host(serve, postgresql):
    patient = serve(postgresql.url, API_LOCK_TIMEOUT_SECONDS=60, API_STATEMENT_TIMEOUT_SECONDS=60, **SLOW)
    hasty = serve(postgresql.url, API_LOCK_TIMEOUT_SECONDS=0.5, **SLOW)
    user = {"username": "ann", "email": "ann@example.com"}
    with ThreadPoolExecutor(1) as thread:
        with postgresql.closed_to_writers():
            first = thread.submit(post, patient.port, "/api/users", user, "key")
            while not holds_a_key(postgresql):
                time.sleep(0.02)
            second = post(hasty.port, "/api/users", user, "key")
            other = post(hasty.port, "/api/users", user, "other")
        answer = first.result()

    assert (second[0], dict(second[1])["retry-after"]) == (409, "1")
    assert other[0] == 503
    assert answer[0] == 201
    assert post(hasty.port, "/api/users", user, "key") == answer


def holds_a_key(postgresql):
    """Whether a transaction that has inserted a key is open."""
    with postgresql.connect() as connection:
        statement = "SELECT count(*) FROM pg_locks WHERE relation = 'idempotency_keys'::regclass AND mode = %s"
        return bool(connection.execute(statement, ["RowExclusiveLock"]).fetchone()[0])
