"""Checks whether the write-ahead log beside an SQLite database (`app.db-wal`) belongs to this database.

SQLite writes any log that it finds beside a database into that database, page by page. After a crash this restores the
acknowledged rows; but if the database was replaced by a backup, it destroys the backup. A log does not name its
database, so this module compares the size and the change counter in both. If these do not decide, the log counts as
the database's own: refusing the right log would make acknowledged rows inaccessible.

The formats: https://sqlite.org/fileformat2.html, sections 1.3 and 4.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from struct import Struct
from typing import BinaryIO, NamedTuple

_LOG_HEADER = Struct(">8I")  # magic, version, page size, checkpoints, two salts, two sums
_FRAME_HEADER = Struct(">6I")  # page, pages in the database after a commit or 0, two salts, two sums
_LITTLE_ENDIAN, _BIG_ENDIAN = 0x377F0682, 0x377F0683
_HEADER_BYTES = 100  # the header of a database, at the beginning of its first page
_PENDING_BYTE = 0x40000000  # the page that contains this offset is never written
_ATTEMPTS = 5

# Closing a file releases all fcntl locks of this process on it, including SQLite's. So the descriptors of databases
# that were checked stay open: one for each file.
_opened: dict[tuple[int, int], int] = {}


class _Header(NamedTuple):
    """The header of a database, on its first page."""

    content: bytes

    @property
    def changes(self) -> int:
        """The change counter. A connection that writes the first page increases it, unless it did so last."""
        return int.from_bytes(self.content[24:28])

    @property
    def pages(self) -> int:
        return int.from_bytes(self.content[28:32])

    @property
    def page_bytes(self) -> int:
        return 65536 if self.content[16:18] == b"\x00\x01" else int.from_bytes(self.content[16:18])

    @property
    def shrinks(self) -> bool:
        """Whether the database can shrink without being rewritten (auto_vacuum)."""
        return self.content[52:56] != bytes(4)

    @property
    def has_log(self) -> bool:
        """Whether the database was in WAL mode when this header was written."""
        return self.content[18:20] == b"\x02\x02"


class _Transaction(NamedTuple):
    """A committed transaction in a log."""

    pages: set[int]
    """The numbers of the pages that it wrote."""
    size: int
    """The number of pages of the database after the transaction."""
    header: _Header | None
    """The header on the first page, if it wrote this page: every transaction that changes the size does."""


class _Log(NamedTuple):
    page_bytes: int
    transactions: list[_Transaction]


def belongs(path: str) -> bool:
    """Whether the log beside this database is its own, or there is none."""
    path = os.path.realpath(path)  # SQLite puts the log beside the target of a symbolic link
    for _ in range(_ATTEMPTS):
        before = _database(path)
        for verify in (False, True):  # reading every page takes 100 times as long: done only before refusing
            log = _read(path + "-wal", verify=verify)
            if log is None or not log.transactions or _fit(before, log):
                return True
        if _database(path) == before:
            return False
    return True  # another process keeps writing to the database, so it has opened the right log


def _fit(database: tuple[_Header, int] | None, log: _Log) -> bool:
    if database is None:
        return False
    header, file_bytes = database
    if header.page_bytes != log.page_bytes or not header.has_log:
        return False
    written = {page for transaction in log.transactions for page in transaction.pages}
    if not _has_all(written, file_bytes // log.page_bytes, log.transactions[-1].size, log.page_bytes):
        return False
    if any(transaction.header == header for transaction in log.transactions):
        return True  # a checkpoint has already written this page of the log to the database
    return _is_before(header, log)


def _is_before(header: _Header, log: _Log) -> bool:
    """Whether a database with this header can be the state before the first transaction of the log."""
    written: set[int] = set()
    for pages, size, following in log.transactions:
        written |= pages
        if following is None:
            if size != header.pages:
                return False
        elif following.changes - header.changes not in {0, 1}:
            return False
        elif size < header.pages:  # only a vacuum shrinks a database; a full one writes every page
            return header.shrinks or _has_all(pages, 0, size, log.page_bytes)
        else:
            return _has_all(written, header.pages, size, log.page_bytes)
    return True


def _has_all(written: set[int], first: int, last: int, page_bytes: int) -> bool:
    """Whether all pages from `first + 1` to `last` were written, except the page that is never written."""
    return set(range(first + 1, last + 1)) - written <= {_PENDING_BYTE // page_bytes + 1}


def _database(path: str) -> tuple[_Header, int] | None:
    """The header and the size in bytes of a database; None if there is no database."""
    try:
        status = os.stat(path)  # noqa: PTH116  # `os` functions throughout, because of os.pread
        descriptor = _opened.get((status.st_dev, status.st_ino))
        if descriptor is None:
            descriptor = _opened[status.st_dev, status.st_ino] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        content = os.pread(descriptor, _HEADER_BYTES, 0)
    except FileNotFoundError:
        return None
    return (_Header(content), status.st_size) if content else None


def _read(path: str, *, verify: bool) -> _Log | None:
    """The contents of a log; None if there is no log, or SQLite would ignore it."""
    with suppress(FileNotFoundError), open(path, "rb") as file:  # noqa: PTH123  # as above
        start = file.read(_LOG_HEADER.size)
        if len(start) < _LOG_HEADER.size:
            return None
        magic, _, page_bytes, _, *salts_and_sums = _LOG_HEADER.unpack(start)
        salts, sums = tuple(salts_and_sums[:2]), tuple(salts_and_sums[2:])
        order = {_LITTLE_ENDIAN: "<", _BIG_ENDIAN: ">"}.get(magic)
        if order is None or _sums(order, start[:24], (0, 0)) != sums:
            return None
        log, pages, header = _Log(page_bytes, []), set(), None
        for page, size, content in _frames(file, page_bytes, salts, (order, sums) if verify else None):
            pages.add(page)
            header = _Header(content) if page == 1 else header
            if size:
                log.transactions.append(_Transaction(pages, size, header))
                pages, header = set(), None
        return log
    return None


def _frames(
    file: BinaryIO, page_bytes: int, salts: tuple[int, ...], check: tuple[str, tuple[int, ...]] | None
) -> Iterator[tuple[int, int, bytes]]:
    """For each frame up to the first invalid one: page number, size after a commit or 0, and the page's first bytes."""
    while len(start := file.read(_FRAME_HEADER.size)) == _FRAME_HEADER.size:
        page, size, *rest = _FRAME_HEADER.unpack(start)
        content = file.read(page_bytes) if check or page == 1 else b""
        if not content:
            file.seek(page_bytes, os.SEEK_CUR)
        if tuple(rest[:2]) != salts:
            return
        if check:
            order, sums = check
            sums = _sums(order, start[:8] + content, sums)
            if len(content) < page_bytes or sums != tuple(rest[2:]):
                return
            check = order, sums
        yield page, size, content[:_HEADER_BYTES]


def _sums(order: str, content: bytes, sums: Sequence[int]) -> tuple[int, int]:
    """SQLite's checksum of a log, which is continued from one frame to the next."""
    first, second = sums
    count = len(content) // 8
    words = iter(Struct(f"{order}{2 * count}I").unpack(content[: 8 * count]))
    for one, other in zip(words, words, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
