"""The table of idempotency keys, and the store on it.

A key is a row, written in the transaction of what its request creates. Inserting the row is the claim: on PostgreSQL, a
second request with the key waits on the index until the first one has ended; on SQLite, there is one writer at a time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    JSON,
    Column,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    bindparam,
    delete,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from api.database import RowLocked, UtcDateTime, UtcNow, db, read, transaction, write
from contractapp import IdempotencyKeyInUse, Remembered, Unavailable

# Each new key removes as many expired ones at most: more than one, so that a backlog shrinks.
_REMOVED_AT_ONCE = 5

_keys = Table(
    "idempotency_keys",
    db.metadata,
    Column("key", String(255), primary_key=True),
    # The first request with the key, and its answer. They are NULL only inside the transaction that inserts the row.
    Column("operation", Text),
    Column("digest", LargeBinary),
    Column("status", Integer),
    Column("headers", JSON),
    Column("body", LargeBinary),
    Column("created_at", UtcDateTime, server_default=UtcNow(), nullable=False, index=True),
)
_key_matches = _keys.c.key == bindparam("the_key")
_has_expired = _keys.c.created_at < bindparam("expired_at", type_=_keys.c.created_at.type)

_SELECT = select(_keys.c.operation, _keys.c.digest, _keys.c.status, _keys.c.headers, _keys.c.body).where(_key_matches)
_UPDATE = update(_keys).where(_key_matches).returning(_keys.c.key)
# Rows that another request is about to remove are skipped, so that requests do not wait for each other.
_EXPIRED = select(_keys.c.key).where(_has_expired).order_by(_keys.c.created_at).limit(_REMOVED_AT_ONCE)
_DELETE = delete(_keys).where(_keys.c.key.in_(_EXPIRED.with_for_update(skip_locked=True))).returning(_keys.c.key)


class Keys:
    """The keys of one application, and the answers to the first request with each."""

    def __init__(self, *, hours: int, is_sqlite: bool) -> None:
        self._lifetime = timedelta(hours=hours)
        insert = sqlite.insert(_keys) if is_sqlite else postgresql.insert(_keys)
        # Inserts no row if the key is there and has not expired; waits for a transaction that has inserted it.
        self._insert = insert.on_conflict_do_update(
            index_elements=[_keys.c.key], set_={"created_at": insert.excluded.created_at}, where=_has_expired
        ).returning(_keys.c.key)
        self._running: list[str] = []  # the keys of this process; `append` and `remove` of a list are atomic

    @contextmanager
    def claim(self, key: str) -> Iterator["Claim"]:
        """A transaction in which this request alone holds the key."""
        expired = {"expired_at": datetime.now(UTC) - self._lifetime}
        self._running.append(key)
        try:
            with transaction() as commit:
                yield Claim(key, expired, self._first(key, expired), commit)
        finally:
            self._running.remove(key)

    def _first(self, key: str, expired: dict[str, datetime]) -> Remembered | None:
        """What is remembered of the first request with the key; None if this request has claimed it."""
        try:
            claimed = write(self._insert, {"key": key, **expired})
        except Unavailable as error:
            # SQLite cannot tell who holds its only lock: a request in another process may be one with this key, too.
            if isinstance(error, RowLocked) or self._running.count(key) > 1:
                raise IdempotencyKeyInUse from error
            raise
        if claimed is not None:
            return None
        ((operation, digest, status, headers, body),) = read(_SELECT, {"the_key": key})
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return Remembered(operation, digest, status, raw, body)


class Claim:
    """The open transaction of a request with a key."""

    def __init__(
        self, key: str, expired: dict[str, datetime], first: Remembered | None, commit: Callable[[], None]
    ) -> None:
        self.first = first
        self._key = key
        self._expired = expired
        self._commit = commit

    def remember(self, answer: Remembered) -> None:
        """Store the answer, remove a few expired keys, and commit."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
        if write(_UPDATE, {"the_key": self._key, **answer._asdict(), "headers": headers}) is None:
            raise RuntimeError("The claim of an idempotency key was rolled back before its answer was stored.")
        write(_DELETE, self._expired)
        self._commit()
