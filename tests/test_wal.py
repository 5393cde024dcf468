"""SQLite opens a write-ahead log only with its own database, in any state in which both were left."""

import os
import random
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from api.database.wal import belongs


def opened(path):
    connection = sqlite3.connect(path, isolation_level=None, timeout=0.001)
    connection.execute("PRAGMA journal_mode = WAL").close()
    connection.execute("PRAGMA synchronous = OFF").close()  # this test does not need to survive a power cut
    return connection


def copied(source, target):
    """A copy of the files, as if the processes that use them had been killed at this moment."""
    shutil.copy(source, target)
    shutil.copy(f"{source}-wal", f"{target}-wal")
    return target


def insert(connection, count, size=2000):
    for _ in range(count):
        connection.execute("INSERT INTO rows (name, content) VALUES (?, ?)", (random.random(), os.urandom(size)))


WORK = {
    "insert": lambda connection: insert(connection, 1, random.choice([10, 3000, 20_000])),
    "update": lambda connection: connection.execute(
        "UPDATE rows SET content = ? WHERE id = (SELECT id FROM rows ORDER BY random() LIMIT 1)", (os.urandom(500),)
    ),
    "delete": lambda connection: connection.execute(
        "DELETE FROM rows WHERE id IN (SELECT id FROM rows ORDER BY random() LIMIT 5)"
    ),
    "grow and shrink": lambda connection: connection.executescript(
        "BEGIN; INSERT INTO rows (name, content) SELECT random(), zeroblob(9000) FROM rows LIMIT 30;"
        "DELETE FROM rows WHERE length(content) = 9000; COMMIT"
    ),
    "alter": lambda connection: connection.execute(f"ALTER TABLE rows ADD COLUMN c{random.getrandbits(60)}"),
    "vacuum": lambda connection: connection.execute("VACUUM"),
    "checkpoint": lambda connection: connection.execute(
        f"PRAGMA wal_checkpoint({random.choice(['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'])})"
    ).fetchall(),
}


@pytest.mark.parametrize("seed", range(8))
def test_the_log_of_a_killed_process_is_its_own_at_any_moment(tmp_path, seed):
    random.seed(seed)
    path = tmp_path / "api.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size = {random.choice([512, 4096, 65536])}")
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, name UNIQUE, content)")
    writers = [opened(path), opened(path)]
    reader = opened(path)
    for moment in range(100):
        with suppress(sqlite3.OperationalError):  # locked: the copy then has an earlier moment of the same state
            random.choice(list(WORK.values()))(random.choice(writers))
        if random.random() < 0.2:  # a reader, which prevents checkpoints from completing
            reader.rollback()
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM rows").fetchall()
        assert belongs(str(path)), "of a database in use"
        copy = copied(path, tmp_path / f"copy{moment}.db")
        assert belongs(str(copy)), "of a database as a killed process leaves it"
        copy.unlink()
    for connection in (*writers, reader):
        connection.close()


def by_backup(connection, path):
    with closing(sqlite3.connect(path)) as target:
        connection.backup(target)


def by_vacuum(connection, path):
    connection.execute("VACUUM INTO ?", (str(path),))


def by_copy(connection, path):
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    shutil.copy(connection.execute("PRAGMA database_list").fetchone()[2], path)


@pytest.mark.parametrize("make", [by_backup, by_vacuum, by_copy])
@pytest.mark.parametrize("later", [20, 500])
def test_a_log_beside_a_backup_is_not_its_own(tmp_path, make, later):
    path, backup = tmp_path / "api.db", tmp_path / "backup.db"
    with closing(opened(path)) as connection:
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, name UNIQUE, content)")
        insert(connection, 100)
        make(connection, backup)
        insert(connection, 5)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        insert(connection, later)
        shutil.copy(f"{path}-wal", f"{backup}-wal")

        assert belongs(str(path))
        assert not belongs(str(backup))


def grow(path):
    """The backup is smaller than the database that the log began with, and the log has every page since."""
    with closing(opened(path)) as connection:
        insert(connection, 50)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        insert(connection, 5)
        connection.execute("UPDATE rows SET content = ? WHERE id > 100", (os.urandom(2000),))
        yield


def keep_the_size(path):
    """The log does not show the change of size, because it does not contain the first page."""
    with closing(opened(path)) as connection:
        insert(connection, 50)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute("UPDATE rows SET content = ? WHERE id = 3", (os.urandom(2000),))
        yield


def change_in_place(path):
    """The backup has the size of the database that the log began with, and fewer changes."""
    for _ in range(3):
        with closing(opened(path)) as connection:
            connection.executescript("CREATE TABLE more (id); DROP TABLE more; UPDATE rows SET name = random()")
    with closing(opened(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        insert(connection, 20)
        yield


@pytest.mark.parametrize("work", [grow, keep_the_size, change_in_place])
def test_a_log_beside_an_older_state_is_not_its_own(tmp_path, work):
    path, backup = tmp_path / "api.db", tmp_path / "backup.db"
    with closing(opened(path)) as connection:
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, name UNIQUE, content)")
        connection.execute("CREATE TABLE spare AS SELECT zeroblob(9000) AS content")
        connection.execute("DROP TABLE spare")
        insert(connection, 100)
        by_copy(connection, backup)
        for _ in work(path):
            shutil.copy(f"{path}-wal", f"{backup}-wal")

            assert belongs(str(path))
            assert not belongs(str(backup))


def test_a_log_beside_a_database_that_was_made_without_one_is_not_its_own(tmp_path):
    path = left(tmp_path)
    with path.open("r+b") as file:
        file.seek(18)
        file.write(b"\x01\x01")

    assert not belongs(str(path))


@pytest.mark.parametrize("work", ["insert", "update"])
def test_a_log_beside_a_newer_state_is_not_its_own(tmp_path, work):
    path = tmp_path / "api.db"
    with closing(opened(path)) as connection:
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, name UNIQUE, content)")
        insert(connection, 20)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        for _ in range(20):
            WORK[work](connection)
        copy = copied(path, tmp_path / "copy.db")
        insert(connection, 100)
        by_copy(connection, copy)

    assert not belongs(str(copy))


def left(tmp_path):
    """A database with the log that a killed process left."""
    path = tmp_path / "used.db"
    with closing(opened(path)) as connection:
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, name UNIQUE, content)")
        insert(connection, 10)
        return copied(path, tmp_path / "api.db")


def test_a_log_beside_no_database_is_not_its_own(tmp_path):
    path = left(tmp_path)
    path.write_bytes(b"")
    empty = belongs(str(path))
    path.unlink()

    assert (empty, belongs(str(path))) == (False, False)


def test_a_log_of_pages_of_another_size_is_not_its_own(tmp_path):
    path = left(tmp_path)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE rows (id)")
    other.rename(path)

    assert not belongs(str(path))


@pytest.mark.parametrize("cut", [0, 10, 32, 2000])
def test_a_log_without_a_whole_transaction_is_passed_over_as_sqlite_does(tmp_path, cut):
    path = left(tmp_path)
    os.truncate(f"{path}-wal", cut)
    path.write_bytes(b"")

    assert belongs(str(path))


def test_a_transaction_damaged_by_a_power_cut_is_not_refused(tmp_path):
    """The last transaction of a log may be damaged: SQLite stops before the first frame with a wrong checksum."""
    path = tmp_path / "api.db"
    with closing(opened(path)) as connection:
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, name UNIQUE, content)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        insert(connection, 30)
        copy = copied(path, tmp_path / "copy.db")
    with Path(f"{copy}-wal").open("r+b") as file:
        start = 32
        while file.seek(start) and file.read(4) != b"\x00\x00\x00\x01":  # the frame of the first page
            start += 24 + 4096
        file.seek(start + 24 + 24)  # its count of changes
        file.write(b"\x7f\xff\xff\xff")

    assert belongs(str(copy))


def test_a_database_without_a_log_is_its_own(tmp_path):
    path = left(tmp_path)
    Path(f"{path}-wal").unlink()

    assert belongs(str(path))


def test_a_log_beside_what_a_link_leads_to_is_looked_at(tmp_path):
    path = left(tmp_path)
    path.write_bytes(b"")
    link = tmp_path / "link.db"
    link.symlink_to(path)

    assert not belongs(str(link))
