"""An HTTP response that is ready to send, and the conversion of a problem into one."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any, NamedTuple, Protocol

import orjson

from contractapp.problems import MEDIA_TYPE, Problem

RawHeaders = list[tuple[bytes, bytes]]
ProblemBody = Callable[[Problem], Mapping[str, object]]
Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class Chunks(Protocol):
    """The body of a streamed response: an iterator that must be closed."""

    def __iter__(self) -> Iterator[bytes]: ...

    def __next__(self) -> bytes: ...

    def close(self) -> None: ...


class Answer(NamedTuple):
    """A response that is ready to send. A streamed response has its chunks in `stream` and an empty `body`."""

    status: int
    headers: RawHeaders
    body: bytes
    stream: Chunks | None = None


class RespondAtOnce(Protocol):
    """`ContractApp.respond_at_once`."""

    def __call__(self, scope: Scope, content: bytes, /) -> Answer | ASGIApp | None: ...


def problem_answer(problem: Problem, body: Mapping[str, object]) -> Answer:
    """The answer for a problem; `body` holds the members of its JSON object."""
    content = orjson.dumps(body)
    headers: RawHeaders = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(content)),
    ]
    headers.extend((key.lower().encode("latin-1"), value.encode("latin-1")) for key, value in problem.headers.items())
    return Answer(problem.status, headers, content)


async def send_answer(answer: Answer, send: Send, *, head: bool) -> None:
    """Send an answer that is not streamed; if `head`, without its body."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})
