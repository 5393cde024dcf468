"""Streamed responses: sent chunk by chunk, and closed exactly once, however they end.

Threads make the chunks, one at a time, in the context of the request. A stream ends when its last chunk was sent, when
making a chunk raised an error or exceeded the time limit, when the client disconnected, or when the request was
cancelled. It is closed as soon as no thread is making a chunk.
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
    """The chunks of one response. Knows whether a thread is making a chunk."""

    def __init__(self, chunks: Chunks, context: Context, workers: Workers) -> None:
        self._chunks = chunks
        self._context = context
        self._workers = workers
        self._lock = Lock()
        self._in_use = False
        self._over = False

    async def next(self) -> bytes | None:
        """The next chunk, or None after the last; raises `Unavailable` if it is late."""
        chunk: bytes | None = await self._workers.run_next(self._workers.read, self._take)
        return chunk

    def close(self) -> "asyncio.Future[Any]":
        """Close the stream; the future is done when it is closed.

        If a thread is making a chunk, the future is done at once, and that thread closes the stream after the chunk.
        """
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
        except Exception:  # the response has ended, so that the error can only be logged
            logger.exception("A streamed response could not be closed.")


async def send_stream(stream: Stream, answer: Answer, receive: Receive, send: Send, *, head: bool) -> None:
    """Send status and headers, then (unless `head`) the chunks. Raises `RuntimeError` if a chunk is late."""
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        if head or await _send_chunks(stream, receive, send):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    except Problem as problem:  # the response has started, so that the problem cannot be sent
        raise RuntimeError("A streamed response broke off.") from problem
    finally:
        closed = stream.close()
    await closed


async def _send_chunks(stream: Stream, receive: Receive, send: Send) -> bool:
    """Send all chunks; returns whether the client stayed connected until the last one."""
    disconnect = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        while (chunk := await stream.next()) is not None:
            if disconnect.done():  # not every server raises an error in `send`
                return False
            try:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except OSError:  # the client disconnected (ASGI, HTTP connection scope, version 2.4)
                return False
        return True
    finally:
        disconnect.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":  # noqa: ASYNC110  # other messages are the rest of the body
        await asyncio.sleep(0)  # a `receive` that never waits must not stop the event loop
