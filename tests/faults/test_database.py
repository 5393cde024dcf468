"""The database stops, hangs, refuses, is locked or full: a 503 in bounded time, and 200 again without a restart."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress

import pytest

LIVE, READY, USERS, POSTS = "/api/health/live", "/api/health/ready", "/api/users", "/api/posts"

# The longest time of a request under conftest's timeouts: its own 2 s, a sweep of 0.25 s, and time for a busy machine.
REQUEST_BOUND = 3.0
AT_ONCE = 0.5

DEFAULTS = {
    "API_LOCK_TIMEOUT_SECONDS": "",
    "API_REQUEST_TIMEOUT_SECONDS": "",
    "API_POOL_TIMEOUT_SECONDS": "",
}


def is_unavailable(answer):
    return (
        answer.status == 503
        and int(answer.headers["retry-after"]) > 0
        and answer.headers["content-type"] == "application/problem+json"
        and answer.body["status"] == 503
    )


@pytest.mark.parametrize(
    "url",
    ["postgresql://nobody@127.0.0.1:1/nothing", "sqlite:////proc/nothing/api.db"],
    ids=["postgresql", "sqlite"],
)
def test_a_database_out_of_reach_stops_the_start_with_a_sentence(url, serve, figure):
    start = time.monotonic()
    server = serve(url, wait=False)

    assert server.process.wait(10) == 1
    lines = server.log.read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("The database cannot be used: ")
    figure(f"exit 1 after {time.monotonic() - start:.1f} s: {lines[0]}")


def test_a_database_that_never_answers_stops_the_start_with_a_sentence(serve, figure):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        server = serve(f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing", wait=False)
        status = server.process.wait(15)

    assert status == 1
    (sentence,) = server.log.read_text().splitlines()
    assert sentence.startswith("The database cannot be used: ")
    figure(f"exit 1 after {time.monotonic() - start:.1f} s: {sentence}")


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stopped_database_is_503_until_it_is_back(mode, workers, serve, postgresql, figure):
    server = serve(postgresql.url, workers=workers)
    created = server.post_user()
    postgresql.cluster.stop(mode)

    refused = server.ask_all([("GET", USERS, None)] * 10 + [server.new_user() for _ in range(10)])
    live, ready = server.get(LIVE), server.get(READY)
    postgresql.cluster.start()
    recovery = server.until(READY, 200)

    assert all(map(is_unavailable, refused))
    assert max(answer.seconds for answer in refused) < REQUEST_BOUND
    assert live.status == 200
    assert live.seconds < AT_ONCE
    assert is_unavailable(ready)
    assert created.body in server.get(USERS).body
    # A write that fails on a dead connection is not tried again, and closes all other connections of its worker.
    writes = [server.post_user().status for _ in range(10)]
    assert set(writes) <= {201, 503}
    assert writes.count(503) <= workers
    figure(f"503 within {max(a.seconds for a in refused):.2f} s, ready {recovery:.2f} s after the start")


def test_a_read_that_meets_a_dead_connection_is_tried_once_more(serve, postgresql, figure):
    server = serve(postgresql.url)
    server.ask_all([("GET", USERS, None)] * 20)
    ended = postgresql.terminate_connections()

    answers = server.ask_all([("GET", USERS, None)] * 20)

    assert ended > 1
    assert [answer.status for answer in answers] == [200] * 20
    figure(f"{ended} connections ended, 20 reads 200, the slowest {max(a.seconds for a in answers):.2f} s")


def test_a_read_after_a_restart_is_tried_once_more(serve, postgresql):
    server = serve(postgresql.url)
    server.ask_all([("GET", USERS, None)] * 20)
    postgresql.cluster.stop("immediate")
    postgresql.cluster.start()

    answers = server.ask_all([("GET", USERS, None)] * 20)

    assert [answer.status for answer in answers] == [200] * 20


def test_a_write_that_meets_a_dead_connection_is_not_tried_again(serve, postgresql):
    server = serve(postgresql.url, API_WRITE_THREADS=1)
    server.post_user()
    postgresql.terminate_connections()

    answer = server.post_user()

    assert is_unavailable(answer)
    assert server.post_user().status == 201
    assert len(postgresql.usernames()) == 2


def test_a_server_that_refuses_connections_is_503(serve, postgresql, figure):
    server = serve(postgresql.url)
    postgresql.cluster.execute(f"ALTER ROLE {postgresql.role} CONNECTION LIMIT 0")
    postgresql.terminate_connections()

    refused = server.ask_all([("GET", USERS, None)] * 10 + [server.new_user() for _ in range(10)])
    ready = server.get(READY)
    postgresql.cluster.execute(f"ALTER ROLE {postgresql.role} CONNECTION LIMIT -1")
    recovery = server.until(READY, 200)

    assert all(map(is_unavailable, refused))
    assert max(answer.seconds for answer in refused) < REQUEST_BOUND
    assert is_unavailable(ready)
    assert server.post_user().status == 201
    figure(f"503 within {max(a.seconds for a in refused):.2f} s, ready after {recovery:.2f} s")


def test_fewer_connections_than_threads_is_503_for_some_and_200_for_the_rest(serve, postgresql, figure):
    server = serve(postgresql.url)
    postgresql.cluster.execute(f"ALTER ROLE {postgresql.role} CONNECTION LIMIT 2")
    postgresql.terminate_connections()

    answers = [
        answer
        for _ in range(5)
        for answer in server.ask_all([("GET", USERS, None)] * 20 + [server.new_user() for _ in range(20)])
    ]
    live = server.get(LIVE)
    postgresql.cluster.execute(f"ALTER ROLE {postgresql.role} CONNECTION LIMIT -1")

    served = [answer for answer in answers if answer.status in {200, 201}]
    assert served
    assert all(is_unavailable(answer) for answer in answers if answer not in served)
    assert max(answer.seconds for answer in answers) < REQUEST_BOUND
    assert live.status == 200
    assert server.get(READY).status == 200
    assert server.post_user().status == 201
    figure(f"{len(served)} of 200 served, the others 503 within {max(a.seconds for a in answers):.2f} s")


def test_a_statement_that_takes_too_long_is_503(serve, postgresql, figure):
    # The lock may be waited for longer than the statement may run.
    server = serve(postgresql.url, API_LOCK_TIMEOUT_SECONDS=60, API_STATEMENT_TIMEOUT_SECONDS=1)

    with postgresql.closed_to_all():
        answer = server.get(USERS)
        live, ready = server.get(LIVE), server.get(READY)

    assert is_unavailable(answer)
    assert 0.9 < answer.seconds < 2
    assert live.seconds < AT_ONCE
    assert ready.status == 200  # the readiness check reads another table
    assert server.get(USERS).status == 200
    figure(f"503 after {answer.seconds:.2f} s (statement timeout 1 s)")


def test_requests_take_no_longer_than_their_timeout_when_all_threads_wait(serve, postgresql, figure):
    # Each pool is as large as its threads: a free connection is missing when a thread is.
    server = serve(postgresql.url, API_LOCK_TIMEOUT_SECONDS=60, API_STATEMENT_TIMEOUT_SECONDS=60)
    live = []

    with postgresql.closed_to_all():
        watcher = threading.Thread(target=lambda: live.extend(server.get(LIVE) for _ in range(10)))
        watcher.start()
        answers = server.ask_all([("GET", USERS, None)] * 20 + [server.new_user() for _ in range(20)])
        watcher.join()
        ready = server.get(READY)
    recovery = server.until(READY, 200)

    assert all(map(is_unavailable, answers))
    assert max(answer.seconds for answer in answers) < REQUEST_BOUND
    assert {answer.status for answer in live} == {200}
    assert max(answer.seconds for answer in live) < AT_ONCE
    assert is_unavailable(ready)
    assert {answer.status for answer in server.ask_all([("GET", USERS, None)] * 10)} == {200}
    figure(
        f"40 requests 503 within {max(a.seconds for a in answers):.2f} s (request timeout 2 s), "
        f"liveness within {max(a.seconds for a in live) * 1000:.0f} ms, ready {recovery:.2f} s after the lock"
    )


@pytest.mark.parametrize("end", ["goes on", "is killed"])
def test_a_frozen_server_is_503_until_it_is_back(end, serve, postgresql, figure):
    server = serve(postgresql.url)
    server.ask_all([("GET", USERS, None)] * 20)
    postgresql.cluster.signal(signal.SIGSTOP)
    try:
        answers = server.ask_all([("GET", USERS, None)] * 20 + [server.new_user() for _ in range(20)])
        live, ready = server.get(LIVE), server.get(READY)
    finally:
        if end == "goes on":
            postgresql.cluster.signal(signal.SIGCONT)
        else:
            postgresql.cluster.kill()
            postgresql.cluster.start()
    recovery = server.until(READY, 200)

    assert all(map(is_unavailable, answers))
    assert max(answer.seconds for answer in answers) < REQUEST_BOUND
    assert live.status == 200
    assert live.seconds < AT_ONCE
    assert is_unavailable(ready)
    assert {answer.status for answer in server.ask_all([("GET", USERS, None)] * 10)} == {200}
    figure(f"503 within {max(a.seconds for a in answers):.2f} s, ready {recovery:.2f} s after it was back")


def test_a_lock_held_too_long_is_503_for_writes_and_200_for_reads(serve, database, figure):
    server = serve(database.url)
    server.post_user()

    with database.closed_to_writers():
        write = server.post_user()
        reads = server.ask_all([("GET", USERS, None)] * 20)
        ready = server.get(READY)
    after = server.post_user()

    assert is_unavailable(write)
    assert 0.4 < write.seconds < 1.5
    assert [answer.status for answer in reads] == [200] * 20
    assert ready.status == 200
    assert after.status == 201
    assert len(database.usernames()) == 2
    figure(f"write 503 after {write.seconds:.2f} s (lock timeout 0.5 s), the next one 201 in {after.seconds:.2f} s")


def test_a_lock_held_for_30_seconds_by_another_process(serve, sqlite, figure):
    server = serve(sqlite.url, **DEFAULTS)
    hold = (
        "import sqlite3, time; c = sqlite3.connect('{path}', isolation_level=None); c.execute('BEGIN IMMEDIATE');"
        "print('held', flush=True); time.sleep(30)"
    )
    writes, reads = [], []

    def keep_writing():
        while holder.poll() is None:
            writes.append(server.post_user())

    command = [sys.executable, "-c", hold.format(path=sqlite.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        writers = [threading.Thread(target=keep_writing) for _ in range(8)]
        for writer in writers:
            writer.start()
        while holder.poll() is None:
            reads.extend(server.get(path) for path in (USERS, READY, LIVE))
            time.sleep(0.1)
        for writer in writers:
            writer.join()
    after = server.post_user()

    assert {answer.status for answer in reads} == {200}
    assert max(answer.seconds for answer in reads) < AT_ONCE
    refused = [answer for answer in writes if answer.status != 201]
    assert len(refused) >= 8
    assert all(map(is_unavailable, refused))
    assert max(answer.seconds for answer in writes) < 16  # the request timeout is 15 s
    assert after.status == 201
    assert after.seconds < AT_ONCE
    figure(
        f"{len(refused)} writes 503 within {max(a.seconds for a in refused):.2f} s, {len(reads)} reads within "
        f"{max(a.seconds for a in reads) * 1000:.0f} ms, the next write 201 in {after.seconds:.2f} s"
    )


def test_a_short_lock_is_waited_for(serve, database):
    server = serve(database.url, API_LOCK_TIMEOUT_SECONDS=5, API_STATEMENT_TIMEOUT_SECONDS=5)
    answers = []
    writer = threading.Thread(target=lambda: answers.append(server.post_user()))

    with database.closed_to_writers():
        writer.start()
        time.sleep(0.7)
    writer.join()

    assert answers[0].status == 201
    assert answers[0].seconds > 0.6


def test_a_write_given_up_while_it_queued_is_not_carried_out(serve, database):
    server = serve(
        database.url, API_WRITE_THREADS=1, API_REQUEST_TIMEOUT_SECONDS=0.5, API_LOCK_TIMEOUT_SECONDS=30,
        API_STATEMENT_TIMEOUT_SECONDS=30,
    )  # fmt: skip

    with database.closed_to_writers():
        answers = server.ask_all([server.new_user() for _ in range(20)])
    server.until(READY, 200)
    time.sleep(0.5)

    assert all(map(is_unavailable, answers))
    # The write that had begun in a thread may or may not be stored; a 503 does not tell which.
    assert len(database.usernames()) <= 1


def test_a_file_that_is_gone_is_503_until_it_is_back(serve, sqlite, figure):
    server = serve(sqlite.url)
    server.post_user()
    elsewhere = sqlite.path.parent / "elsewhere"
    elsewhere.mkdir()
    move(sqlite, sqlite.path.parent, elsewhere)

    refused = [server.get(USERS), server.post_user(), server.get(READY), server.get(USERS), server.post_user()]
    live = server.get(LIVE)
    begun = sqlite.path.exists()
    move(sqlite, elsewhere, sqlite.path.parent)
    recovery = server.until(READY, 200)

    assert all(map(is_unavailable, refused))
    assert max(answer.seconds for answer in refused) < AT_ONCE
    assert live.status == 200
    assert not begun  # the server has not created an empty database
    assert server.post_user().status == 201
    assert len(server.get(USERS).body) == len(sqlite.usernames()) == 2
    figure(f"503 within {max(a.seconds for a in refused):.2f} s, ready {recovery:.2f} s after it was back")


def test_a_backup_put_in_the_place_of_the_file_is_served(serve, sqlite):
    server = serve(sqlite.url)
    kept = server.post_user().body
    backup = type(sqlite)(sqlite.path.parent / "backup.db")
    with closing(sqlite.connect()) as source, closing(backup.connect()) as target:
        source.backup(target)
    server.post_user()
    elsewhere = sqlite.path.parent / "elsewhere"
    elsewhere.mkdir()
    move(sqlite, sqlite.path.parent, elsewhere)
    backup.path.rename(sqlite.path)

    seen = server.get(USERS).body
    created = server.post_user()

    assert seen == [kept]
    assert created.status == 201
    assert sqlite.usernames() == {kept["username"], created.body["username"]}


def test_a_file_that_may_not_be_written_is_503_for_writes_until_it_may(serve, sqlite, figure):
    # Root may write to every file unless it drops that capability.
    caps = ["setpriv", "--inh-caps=-dac_override", "--bounding-set=-dac_override"]
    server = serve(sqlite.url, wrapper=[] if os.geteuid() else caps)
    sqlite.path.chmod(0o444)

    refused = [server.post_user() for _ in range(3)]
    reads = [server.get(path) for path in (USERS, READY)]
    sqlite.path.chmod(0o644)
    start = time.monotonic()
    while (after := server.post_user()).status != 201:
        assert is_unavailable(after)
        assert time.monotonic() - start < 5
    recovery = time.monotonic() - start

    assert all(map(is_unavailable, refused))
    assert [answer.status for answer in reads] == [200] * 2
    assert sqlite.usernames() == {after.body["username"]}
    figure(f"503 within {max(a.seconds for a in refused):.2f} s, 201 {recovery:.2f} s after it may be written")


def test_a_full_disk_is_503_for_writes_and_200_for_reads(serve, sqlite, small_disk, figure):
    database = type(sqlite)(small_disk / "faults.db")
    server = serve(database.url)
    author = server.post_user().body["id"]
    fill(small_disk)

    refused = [server.ask("POST", POSTS, long_post(author)) for _ in range(5)]
    reads = [server.get(path) for path in (USERS, POSTS, READY)]
    (small_disk / "ballast").unlink()
    after = server.ask("POST", POSTS, long_post(author))

    assert all(map(is_unavailable, refused))
    assert [answer.status for answer in reads] == [200] * 3
    assert reads[1].body == []
    assert after.status == 201
    assert server.get(POSTS).body == [after.body]
    server.stop()
    figure(f"503 within {max(a.seconds for a in refused):.2f} s, 201 as soon as there is space, nothing by halves")


def test_a_full_tablespace_is_503_for_writes_and_200_for_reads(serve, postgresql, small_disk, figure):
    postgresql.move_to(small_disk)
    server = serve(postgresql.url)
    author = server.post_user().body["id"]
    fill(small_disk)

    refused = [server.ask("POST", POSTS, long_post(author)) for _ in range(5)]
    reads = [server.get(path) for path in (USERS, POSTS, READY)]
    (small_disk / "ballast").unlink()
    after = server.ask("POST", POSTS, long_post(author))

    assert all(map(is_unavailable, refused))
    assert [answer.status for answer in reads] == [200] * 3
    assert reads[1].body == []
    assert after.status == 201
    assert server.get(POSTS).body == [after.body]
    server.stop()
    postgresql.drop()  # before its disk is removed
    figure(f"503 within {max(a.seconds for a in refused):.2f} s, 201 as soon as there is space, nothing by halves")


def test_a_file_that_may_not_grow_is_503_for_writes_and_200_for_reads(serve, sqlite, figure):
    # A limit of the file size, which any user may set: the kernel refuses every write beyond it.
    server = serve(sqlite.url, wrapper=["sh", "-c", 'ulimit -f 512 && exec "$@"', "sh"])
    author = server.post_user().body["id"]

    answers = [server.ask("POST", POSTS, long_post(author)) for _ in range(20)]
    reads = [server.get(path) for path in (USERS, POSTS, READY)]

    stored = [answer.body for answer in answers if answer.status == 201]
    assert 0 < len(stored) < 20
    assert all(is_unavailable(answer) for answer in answers if answer.status != 201)
    assert [answer.status for answer in reads] == [200] * 3
    assert reads[1].body == stored
    figure(f"{len(stored)} stored, {20 - len(stored)} refused with 503, {len(reads[1].body)} found")


@pytest.fixture
def small_disk(open_folder):
    folder = open_folder / f"disk-{secrets.token_hex(4)}"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def move(database, source, target):
    """Move an SQLite file, and the files of its log, to another folder."""
    for path in source.glob(f"{database.path.name}*"):
        path.rename(target / path.name)


def fill(disk):
    with (disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(4096))


def long_post(author):
    """Too long for the free pages of a database; of digits that do not compress."""
    return {"title": "Long", "content": secrets.token_hex(30_000), "user_id": author}
