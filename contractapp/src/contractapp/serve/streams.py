"""Streamed responses: sent chunk by chunk, and closed exactly once however they end.

Threads make the chunks, one at a time, in the context of the request. A stream is over when its last chunk was sent,
when a chunk failed or did not come within the time for a request, when the client left, or when the request was
cancelled. It is closed as soon as no thread is in it any longer.
"""

import asyncio
import logging
from contextvars import Context
from threading import Lock
from typing import Any

from contractapp.answers import Answer, Chunks, Receive, Send
from contractapp.problems import Problem
from contractapp.serve.workers import Workers

logger = logging.getLogger("contractapp")


class Stream:
    """The chunks of one response, and whether a thread is making one."""

    def __init__(self, chunks: Chunks, context: Context, workers: Workers) -> None:
        self._chunks = chunks
        self._context = context
        self._workers = workers
        self._lock = Lock()
        self._in_use = False
        self._over = False

    async def next(self) -> bytes | None:
        """The next chunk, None after the last; `Unavailable` when it does not come in time."""
        chunk: bytes | None = await self._workers.run_next(self._workers.read, self._take)
        return chunk

    def close(self) -> "asyncio.Future[Any]":
        """Close the stream; done at once where a thread is making a chunk, which then closes the stream itself."""
        with self._lock:
            in_use, self._over = self._in_use, True
        if not in_use:
            return self._workers.run_last(self._workers.read, self._close)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def _take(self) -> bytes | None:
        with self._lock:
            if self._over:
                return None
            self._in_use = True
        try:
            return self._context.run(next, self._chunks, None)
        finally:
            with self._lock:
                self._in_use = False
                over = self._over
            if over:
                self._close()

    def _close(self) -> None:
        try:
            self._context.run(self._chunks.close)
        except Exception:  # whoever waited for the response has it, or left: the log is all there is
            logger.exception("A streamed response could not be closed.")


async def send_stream(stream: Stream, answer: Answer, receive: Receive, send: Send, *, head: bool) -> None:
    """Send the answer's status and headers, then the chunks; for HEAD none. Raises `RuntimeError` if it breaks off."""
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        if head or await _send_chunks(stream, receive, send):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    except Problem as problem:  # too late for an answer of its own
        raise RuntimeError("A streamed response broke off.") from problem
    finally:
        closed = stream.close()
    await closed


async def _send_chunks(stream: Stream, receive: Receive, send: Send) -> bool:
    """Send all chunks; whether the client was there to the end."""
    leaving = asyncio.ensure_future(_until_the_client_leaves(receive))
    try:
        while (chunk := await stream.next()) is not None:
            if leaving.done():  # not every server's `send` says so
                return False
            try:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except OSError:  # as a server says that the client left (ASGI, HTTP connection scope, version 2.4)
                return False
        return True
    finally:
        leaving.cancel()


async def _until_the_client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":  # noqa: ASYNC110  # the messages are what is left of the body
        await asyncio.sleep(0)  # a `receive` that never waits must not stop the event loop
