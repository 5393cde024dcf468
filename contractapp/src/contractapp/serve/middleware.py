"""The ASGI middleware that serves the compiled operations, in front of Connexion's own stack.

It finds the operation, checks the request in the event loop (a refusal needs no thread), runs the handler in a worker
thread, and sends the answer. All other requests go unchanged to the next application, Connexion's stack.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextvars import Context, copy_context
from functools import partial
from threading import Lock
from typing import Any

from contractapp.answers import Answer, ProblemBody, Receive, Send, problem_answer, send_answer
from contractapp.asgi.documentation import Documentation
from contractapp.compile.body import entity_of, read_body
from contractapp.compile.response import ContractBreach
from contractapp.compile.routes import Routes
from contractapp.problems import InternalError, MethodNotAllowed, NotFound, Problem
from contractapp.serve.connexion import ConnexionOperation
from contractapp.serve.flask import Call, FlaskRunner
from contractapp.serve.streams import Stream, send_stream
from contractapp.serve.workers import Workers

logger = logging.getLogger("contractapp")

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPTIONS = "OPTIONS"


class ContractMiddleware:
    """Answers requests for compiled operations and for the documentation."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Routes,
        documentations: Sequence[Documentation],
        runner: FlaskRunner,
        prepare: Callable[[], None],
        workers: Workers,
        inline: frozenset[str],
        max_body_bytes: int,
        owns_unknown_paths: bool,
        error_for_handler: Callable[[Problem], Exception | None],
        problem_body: ProblemBody,
    ) -> None:
        self.app = app
        self._routes = routes
        self._documentations = documentations
        self._prepare: Callable[[], None] | None = prepare
        self._preparing = Lock()
        self._runner = runner
        self._workers = workers
        self._inline = inline
        self._max_body_bytes = max_body_bytes
        self._owns_unknown_paths = owns_unknown_paths
        self._error_for_handler = error_for_handler
        self._problem_body = problem_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            try:
                await self.app(scope, receive, send)
            finally:
                if scope["type"] == "lifespan":
                    self._workers.close()
            return
        if self._prepare is not None:  # not before Connexion has registered the APIs with Flask
            self._prepare_once()
        try:
            answer = await self._answer(scope, receive, send)
        except Problem as problem:
            self._raise_for_error_handler(problem)
            answer = self._problem_answer(problem)
        if answer is not None:
            await send_answer(answer, send, head=scope["method"] == "HEAD")

    def _prepare_once(self) -> None:
        with self._preparing:  # the first requests may come from event loops in several threads
            if self._prepare is not None:
                self._prepare()
                self._prepare = None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """The answer, or None if a response was sent already."""
        path = route_path(scope)
        match = self._routes.find(path)
        if match is None:
            return await self._unknown(path, scope, receive, send)
        route, values = match
        method = scope["method"]
        operation = route.operations.get("GET" if method == "HEAD" else method, _ABSENT)
        if operation is None or (method == "HEAD" and "HEAD" in route.operations):
            await self._run_stock(scope, receive, send)
            return None
        if isinstance(operation, ConnexionOperation):
            return await self._run(operation, values, scope, receive, send)
        if method == _OPTIONS:
            return Answer(204, [(b"allow", route.allow.encode())], b"")
        raise MethodNotAllowed(route.allow)

    async def _unknown(self, path: str, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        for documentation in self._documentations:
            if path in documentation.paths:
                page = documentation.made.get(path)
                if page is None:  # made once, in a thread: it serialises the contract or reads a file
                    page = await self._workers.run(self._workers.read, partial(documentation.make, path))
                return page.answer(scope["method"], scope["headers"], scope.get("root_path", ""))
        if self._owns_unknown_paths or path.startswith("//") or self._differs_by_a_slash(path):
            raise NotFound("There is nothing at this path.")
        await self._call_next(scope, receive, send)
        return None

    def _differs_by_a_slash(self, path: str) -> bool:
        """Whether Connexion would redirect this path to one whose operations are all compiled."""
        match = self._routes.find(path[:-1] if path.endswith("/") else path + "/")
        return match is not None and None not in match.route.operations.values()

    async def _run(
        self, operation: ConnexionOperation, values: list[str], scope: Scope, receive: Receive, send: Send
    ) -> Answer | None:
        workers = self._workers
        deadline = workers.deadline()
        headers = scope["headers"]
        validator, content = None, None
        context = copy_context()
        if operation.body is not None:
            validator = operation.check_body_headers(headers, self._max_body_bytes)
            content = await read_body(receive, self._max_body_bytes, workers.timeout_seconds)
        arguments = operation.bind(values, scope["query_string"], headers, content, validator)
        call = Call(operation, dict(scope), arguments, content or b"")
        try:
            if operation.name in self._inline:
                answer: Answer = context.run(self._runner.run, call)
            else:
                lane = workers.read if operation.method == "GET" else workers.write
                discard = partial(self._discard, context)
                answer = await workers.run(lane, partial(context.run, self._runner.run, call), deadline, discard)
        except Problem as problem:  # a problem that the handler raised is checked with the contract
            return self._handler_problem(operation, problem)
        except ContractBreach as breach:
            return self._internal_error(breach)
        if answer.stream is None:
            return answer
        stream = Stream(answer.stream, context, workers)
        await send_stream(stream, answer, receive, send, head=scope["method"] == "HEAD")
        return None

    def _discard(self, context: Context, answer: Answer) -> None:
        """Close the stream of an answer that came too late to be sent."""
        if answer.stream is not None:
            Stream(answer.stream, context, self._workers).close()

    def _raise_for_error_handler(self, problem: Problem) -> None:
        """Raise the exception that the user's error handler for this problem takes, if there is such a handler."""
        error = self._error_for_handler(problem)
        if error is not None:
            raise error

    def _handler_problem(self, operation: ConnexionOperation, problem: Problem) -> Answer:
        self._raise_for_error_handler(problem)
        try:
            return operation.responses.problem(problem)
        except ContractBreach as breach:
            return self._internal_error(breach)

    def _problem_answer(self, problem: Problem) -> Answer:
        return problem_answer(problem, self._problem_body(problem))

    def _internal_error(self, breach: ContractBreach) -> Answer:
        logger.error("%s", breach)
        return self._problem_answer(InternalError())

    async def _run_stock(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call Connexion's stack. A chunked body is read first, so that it is limited and gets a Content-Length."""
        entity = entity_of(scope["headers"], self._max_body_bytes)
        if not entity.present or entity.length is not None:
            await self._call_next(scope, receive, send)
            return
        content = await read_body(receive, self._max_body_bytes, self._workers.timeout_seconds)
        headers = [(k, v) for k, v in scope["headers"] if k != b"transfer-encoding"]
        scope = {**scope, "headers": [*headers, (b"content-length", b"%d" % len(content))]}
        messages = iter([{"type": "http.request", "body": content, "more_body": False}])

        async def replay() -> Message:
            return next(messages, None) or await receive()

        await self._call_next(scope, replay, send)

    async def _call_next(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call Connexion's stack. A problem that it raises after the response has started cannot be answered."""
        started = False

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_noted)
        except Problem as problem:
            if started:
                raise RuntimeError("A response broke off.") from problem
            raise


def route_path(scope: Scope) -> str:
    """The path within the application: without `root_path`, the prefix of a proxy or mount."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}:
        return path[len(root) :]
    return path


_ABSENT = object()
