"""Idempotency keys: a request that a client sends again under the same key is carried out once.

The protocol between the library and a store of answers (draft-ietf-httpapi-idempotency-key-header-07). The library
reads the keys, compares requests and decides what is answered; the service's store has the statements.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from contractapp.answers import Answer, RawHeaders
from contractapp.problems import IdempotencyKeyReused


class Remembered(NamedTuple):
    """The first request with a key, and its answer.

    Attributes:
        operation: The method and path of the operation, such as `POST /api/things`.
        digest: The SHA-256 of the request's arguments, 32 bytes.
        status: The HTTP status, below 400.
        headers: Pairs of a name in lower case and a value.
        body: The whole body.
    """

    operation: str
    digest: bytes
    status: int
    headers: RawHeaders
    body: bytes


class Claim(Protocol):
    """The transaction of a request with a key."""

    @property
    def first(self) -> Remembered | None:
        """What is remembered of the first request with this key; None if this request is the first."""

    def remember(self, answer: Remembered) -> None:
        """Store the answer and commit everything that was written in the transaction."""


class IdempotencyStore(Protocol):
    """Remembers answers by their keys. A service implements it with its own database."""

    def claim(self, key: str) -> AbstractContextManager[Claim]:
        """A transaction in which this request alone holds the key; the handler runs inside it.

        Everything that the handler writes must be part of the transaction. At its end, everything is rolled back
        unless `remember` was called. While another transaction holds the key, this one waits, and raises
        `IdempotencyKeyInUse` if that takes too long. Called in a worker thread, in Flask's context.
        """


def answer_once(
    store: IdempotencyStore, key: str, operation: str, digest: bytes, answer: Callable[[], Answer]
) -> Answer:
    """The answer of the handler, or that of the first request with this key; raises `IdempotencyKeyReused`.

    An answer with a status from 400 on is not remembered, and what its handler wrote is rolled back.
    """
    with store.claim(key) as claim:
        if claim.first is not None:
            if (claim.first.operation, claim.first.digest) != (operation, digest):
                raise IdempotencyKeyReused
            return Answer(claim.first.status, claim.first.headers, claim.first.body)
        made = _whole(answer())
        if made.status < 400:
            claim.remember(Remembered(operation, digest, made.status, made.headers, made.body))
        return made


def _whole(answer: Answer) -> Answer:
    """The answer with all chunks of its stream in the body."""
    if answer.stream is None:
        return answer
    try:
        return Answer(answer.status, answer.headers, b"".join(answer.stream))
    finally:
        answer.stream.close()
