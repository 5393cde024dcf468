"""Whether the write-ahead log beside an SQLite database (`app.db-wal`) is that database's own.

SQLite writes whatever log it finds into the database beside it, page by page. After a crash that brings back the rows
that were acknowledged; where a backup was put in the database's place it destroys the backup. A log does not name its
database, so what both say of the file's size and of its changes is compared. A log of which nothing can be told is
taken for the database's own: refused by mistake, it would keep acknowledged rows away.

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
_HEADER_BYTES = 100  # of a database, on its first page
_PENDING_BYTE = 0x40000000  # the page that holds it is never written
_ATTEMPTS = 5

# Closing a file that SQLite has open elsewhere in this process gives up SQLite's locks on it (fcntl), so that the
# databases looked at stay open: one descriptor for each file that had a log beside it.
_opened: dict[tuple[int, int], int] = {}


class _Header(NamedTuple):
    """What a database says of itself on its first page."""

    content: bytes

    @property
    def changes(self) -> int:
        """Goes up by one when a connection writes the first page, unless it was the last to do so."""
        return int.from_bytes(self.content[24:28])

    @property
    def pages(self) -> int:
        return int.from_bytes(self.content[28:32])

    @property
    def page_bytes(self) -> int:
        return 65536 if self.content[16:18] == b"\x00\x01" else int.from_bytes(self.content[16:18])

    @property
    def shrinks(self) -> bool:
        """Whether the database gives up pages without being written anew (auto_vacuum)."""
        return self.content[52:56] != bytes(4)

    @property
    def has_log(self) -> bool:
        """Whether the database was in WAL mode when this was written."""
        return self.content[18:20] == b"\x02\x02"


class _Transaction(NamedTuple):
    """A committed transaction of a log."""

    pages: set[int]
    """Those that it wrote."""
    size: int
    """The pages that the database has after it."""
    header: _Header | None
    """The first page's, where it wrote that: every transaction that changes the size does."""


class _Log(NamedTuple):
    page_bytes: int
    transactions: list[_Transaction]


def belongs(path: str) -> bool:
    """Whether SQLite may open this database, with the log beside it if there is one."""
    path = os.path.realpath(path)  # SQLite keeps the log beside what a link leads to
    for _ in range(_ATTEMPTS):
        before = _database(path)
        for verify in (False, True):  # reading every page takes a hundred times as long: only before refusing
            log = _read(path + "-wal", verify=verify)
            if log is None or not log.transactions or _fit(before, log):
                return True
        if _database(path) == before:
            return False
    return True  # whoever writes all the time has the right log


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
        return True  # a checkpoint has begun to write the log back
    return _is_before(header, log)


def _is_before(header: _Header, log: _Log) -> bool:
    """Whether a database of this header can be the one that the log's first transaction found."""
    written: set[int] = set()
    for pages, size, following in log.transactions:
        written |= pages
        if following is None:
            if size != header.pages:
                return False
        elif following.changes - header.changes not in {0, 1}:
            return False
        elif size < header.pages:  # by a vacuum, which writes every page unless it is done by and by
            return header.shrinks or _has_all(pages, 0, size, log.page_bytes)
        else:
            return _has_all(written, header.pages, size, log.page_bytes)
    return True


def _has_all(written: set[int], first: int, last: int, page_bytes: int) -> bool:
    """Whether all pages after the first up to the last are written, but the one that never is."""
    return set(range(first + 1, last + 1)) - written <= {_PENDING_BYTE // page_bytes + 1}


def _database(path: str) -> tuple[_Header, int] | None:
    """The header and the size in bytes of a database; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  # one way with os.pread
        descriptor = _opened.get((status.st_dev, status.st_ino))
        if descriptor is None:
            descriptor = _opened[status.st_dev, status.st_ino] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        content = os.pread(descriptor, _HEADER_BYTES, 0)
    except FileNotFoundError:
        return None
    return (_Header(content), status.st_size) if content else None


def _read(path: str, *, verify: bool) -> _Log | None:
    """What is in a log; None where there is none, or none that SQLite would read."""
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
    """The page, the size after a commit and the page's first bytes, of each frame up to the first invalid one."""
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
    """SQLite's checksum of a log, which goes on from one frame to the next."""
    first, second = sums
    count = len(content) // 8
    words = iter(Struct(f"{order}{2 * count}I").unpack(content[: 8 * count]))
    for one, other in zip(words, words, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
