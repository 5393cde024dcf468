"""Many requests at once are served or refused immediately; readers and writers do not delay each other."""

import threading
import time

USERS, LIVE = "/api/users", "/api/health/live"


def statuses(answers):
    """The number of responses with each status."""
    return {status: [a.status for a in answers].count(status) for status in {a.status for a in answers}}


def test_a_burst_of_500_requests_is_served(serve, database, figure):
    server = serve(database.url, API_LOCK_TIMEOUT_SECONDS=5, API_REQUEST_TIMEOUT_SECONDS=15)
    created = server.post_user().body

    start = time.monotonic()
    answers = server.ask_all([("GET", f"{USERS}/{created['id']}", None)] * 500)
    seconds = time.monotonic() - start

    assert statuses(answers) == {200: 500}
    assert all(answer.body == created for answer in answers)
    figure(f"500 reads in {seconds:.2f} s, the slowest {max(a.seconds for a in answers):.2f} s")


def test_a_burst_of_500_writes_is_served(serve, database, figure):
    server = serve(database.url, API_LOCK_TIMEOUT_SECONDS=5, API_REQUEST_TIMEOUT_SECONDS=15)

    start = time.monotonic()
    answers = server.ask_all([server.new_user() for _ in range(500)])
    seconds = time.monotonic() - start

    assert statuses(answers) == {201: 500}
    assert database.usernames() == {answer.body["username"] for answer in answers}
    figure(f"500 writes in {seconds:.2f} s, the slowest {max(a.seconds for a in answers):.2f} s")


def test_writers_of_two_workers_wait_their_turn(serve, database, figure):
    server = serve(database.url, workers=2, API_LOCK_TIMEOUT_SECONDS=5, API_REQUEST_TIMEOUT_SECONDS=15)

    answers = server.ask_all([server.new_user() for _ in range(200)])

    assert statuses(answers) == {201: 200}
    assert len(database.usernames()) == 200
    figure(f"200 writes through two workers, the slowest {max(a.seconds for a in answers):.2f} s")


def test_requests_beyond_the_queue_are_503_at_once(serve, database, figure):
    server = serve(
        database.url,
        API_WRITE_THREADS=1,
        API_QUEUE_SIZE=10,
        API_LOCK_TIMEOUT_SECONDS=20,
        API_STATEMENT_TIMEOUT_SECONDS=20,
        API_REQUEST_TIMEOUT_SECONDS=20,
    )
    answers = []
    first = threading.Thread(target=lambda: answers.append(server.post_user()))
    burst = threading.Thread(target=lambda: answers.extend(server.ask_all([server.new_user() for _ in range(99)])))

    with database.closed_to_writers():
        first.start()
        time.sleep(0.3)  # until it waits in the thread, so that the queue is empty
        burst.start()
        time.sleep(1.5)  # longer than any refusal may take
        live = server.get(LIVE)
    first.join()
    burst.join()

    refused = [answer for answer in answers if answer.status == 503]
    # One in the thread and ten in the queue wait for the lock and are served.
    assert statuses(answers) == {201: 11, 503: 89}
    assert len(database.usernames()) == 11
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert max(answer.seconds for answer in refused) < 1
    assert live.status == 200
    assert live.seconds < 0.5
    figure(f"89 of 100 refused, the slowest after {max(a.seconds for a in refused):.2f} s; 11 served")


def test_reads_go_on_while_writes_wait(serve, database, figure):
    server = serve(
        database.url, API_LOCK_TIMEOUT_SECONDS=20, API_STATEMENT_TIMEOUT_SECONDS=20, API_REQUEST_TIMEOUT_SECONDS=20
    )
    writes = []
    writers = threading.Thread(target=lambda: writes.extend(server.ask_all([server.new_user() for _ in range(40)])))

    with database.closed_to_writers():
        writers.start()
        time.sleep(0.5)
        reads = [server.get(USERS) for _ in range(50)]
    writers.join()

    assert statuses(reads) == {200: 50}
    assert max(answer.seconds for answer in reads) < 0.5
    assert statuses(writes) == {201: 40}
    figure(f"50 reads during 40 waiting writes, the slowest {max(a.seconds for a in reads) * 1000:.0f} ms")
