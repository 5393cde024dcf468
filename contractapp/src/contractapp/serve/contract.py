"""Finds the operation of a request, checks the request, and runs the handler: in the event loop or in a thread.

Everything before the handler, and a handler that does not wait, is one function call: the server can send its answer
at once (`ContractMiddleware.respond_at_once`).
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from functools import partial

from contractapp.answers import Answer, ProblemBody, Receive, Scope, Send, problem_answer
from contractapp.asgi.documentation import Documentation
from contractapp.compile import keys
from contractapp.compile.response import ContractBreach
from contractapp.compile.routes import Routes
from contractapp.problems import InternalError, MethodNotAllowed, NotFound, Problem
from contractapp.serve import inline
from contractapp.serve.connexion import ConnexionOperation
from contractapp.serve.flask import Call, FlaskRunner
from contractapp.serve.streams import Stream, send_stream
from contractapp.serve.workers import Workers

logger = logging.getLogger("contractapp")

# An inline handler that occupies the event loop for longer delays all other requests: the operation then uses threads.
_LONG_SECONDS = 0.1
_THREADS_SECONDS = 10.0

_OPTIONS = "OPTIONS"
_ABSENT = object()

Found = tuple[ConnexionOperation, list[str]]


class Started:
    """A request whose handler has not finished, or whose answer is a stream. `context` holds its context variables."""

    __slots__ = ("call", "context", "result")

    def __init__(self, call: Call, context: Context, result: Callable[[], Awaitable[Answer]]) -> None:
        self.call = call
        self.context = context
        self.result = result


class Contract:
    """The compiled operations of an application, and its documentation."""

    def __init__(
        self,
        *,
        routes: Routes,
        documentations: Sequence[Documentation],
        runner: FlaskRunner,
        workers: Workers,
        inline: frozenset[str],
        max_body_bytes: int,
        owns_unknown_paths: bool,
        error_for_handler: Callable[[Problem], Exception | None],
        problem_body: ProblemBody,
    ) -> None:
        self.workers = workers
        self.max_body_bytes = max_body_bytes
        self.documentations = documentations
        self._routes = routes
        self._runner = runner
        self._inline = dict.fromkeys(inline, 0.0)  # until when the operation uses threads, on the clock `monotonic`
        self._owns_unknown_paths = owns_unknown_paths
        self._error_for_handler = error_for_handler
        self._problem_body = problem_body

    def find(self, scope: Scope) -> Found | Answer | None:
        """The operation and the texts of its path parameters, or an answer; None leaves the request to Connexion.

        Raises `NotFound` or `MethodNotAllowed`.
        """
        path = route_path(scope)
        match = self._routes.find(path)
        if match is None:
            return self._unknown(path, scope)
        route, values = match
        method = scope["method"]
        operation = route.operations.get("GET" if method == "HEAD" else method, _ABSENT)
        if operation is None or (method == "HEAD" and "HEAD" in route.operations):
            return None
        if isinstance(operation, ConnexionOperation):
            return operation, values
        if method == _OPTIONS:
            return Answer(204, [(b"allow", route.allow.encode())], b"")
        raise MethodNotAllowed(route.allow)

    def start(self, call: Call, deadline: float) -> Answer | Started:
        """The answer of the handler, if it runs in the event loop and does not wait."""
        operation, workers = call.operation, self.workers
        now = time.monotonic()
        may_block = not self._runner.is_plain or keys.NAME in call.arguments  # hooks, and the store of the keys
        if may_block or self._inline.get(operation.name, now) >= now:
            return self._start_in_thread(call, deadline)
        handler, waiting = inline.start(partial(self._runner.run, call), workers, deadline)
        context = handler.context
        if not handler.is_finished:
            return Started(call, context, partial(self._finish, handler, operation, waiting))
        if handler.longest > _LONG_SECONDS:
            self._leave_to_threads(operation)
        try:
            answer: Answer = handler.take()
        except Problem as problem:  # a problem that the handler raised is checked with the contract
            return self.handler_problem(operation, problem)
        except ContractBreach as breach:
            return self.internal_error(breach)
        return answer if answer.stream is None else Started(call, context, partial(_same, answer))

    async def result(self, started: Started) -> Answer:
        """The answer of the handler, once it has finished."""
        operation = started.call.operation
        try:
            return await started.result()
        except Problem as problem:
            return self.handler_problem(operation, problem)
        except ContractBreach as breach:
            return self.internal_error(breach)

    async def send_stream(self, started: Started, answer: Answer, receive: Receive, send: Send) -> None:
        """Send the response of a streamed answer."""
        assert answer.stream is not None
        stream = Stream(answer.stream, started.context, self.workers)
        await send_stream(stream, answer, receive, send, head=started.call.scope["method"] == "HEAD")

    def handler_problem(self, operation: ConnexionOperation, problem: Problem) -> Answer:
        """The answer for a problem that a handler raised; raises the exception for the user's error handler."""
        self.raise_for_error_handler(problem)
        try:
            return operation.responses.problem(problem)
        except ContractBreach as breach:
            return self.internal_error(breach)

    def refusal(self, problem: Problem) -> Answer:
        """The answer for a refused request; raises the exception for the user's error handler."""
        self.raise_for_error_handler(problem)
        return problem_answer(problem, self._problem_body(problem))

    def raise_for_error_handler(self, problem: Problem) -> None:
        """Raise the exception that the user's error handler for this problem takes, if there is such a handler."""
        error = self._error_for_handler(problem)
        if error is not None:
            raise error

    def internal_error(self, breach: ContractBreach) -> Answer:
        """The answer in place of one that the contract does not allow."""
        logger.error("%s", breach)
        problem = InternalError()
        return problem_answer(problem, self._problem_body(problem))

    def has(self, path: str) -> bool:
        """Whether the contract has this path."""
        return self._routes.find(path) is not None

    def _unknown(self, path: str, scope: Scope) -> Answer | None:
        for documentation in self.documentations:
            if path in documentation.paths:
                page = documentation.made(path, scope.get("root_path", ""))
                return None if page is None else page.answer(scope["method"], scope["headers"])
        if self._owns_unknown_paths or path.startswith("//") or self._differs_by_a_slash(path):
            raise NotFound("There is nothing at this path.")
        return None

    def _differs_by_a_slash(self, path: str) -> bool:
        """Whether Connexion would redirect this path to one whose operations are all compiled."""
        match = self._routes.find(path[:-1] if path.endswith("/") else path + "/")
        return match is not None and None not in match.route.operations.values()

    def _start_in_thread(self, call: Call, deadline: float) -> Started:
        workers, context = self.workers, copy_context()
        lane = workers.read if call.operation.method == "GET" else workers.write
        run = partial(context.run, self._runner.run, call)
        return Started(call, context, partial(workers.run, lane, run, deadline, partial(self._discard, context)))

    async def _finish(
        self, handler: inline.Handler, operation: ConnexionOperation, waiting: Awaitable[object]
    ) -> Answer:
        """The answer of a handler in the event loop that waits."""
        try:
            answer: Answer = await handler.finish(waiting)
        finally:
            if handler.longest > _LONG_SECONDS:
                self._leave_to_threads(operation)
        return answer

    def _discard(self, context: Context, answer: Answer) -> None:
        """Close the stream of an answer that came too late to be sent."""
        if answer.stream is not None:
            Stream(answer.stream, context, self.workers).close()

    def _leave_to_threads(self, operation: ConnexionOperation) -> None:
        self._inline[operation.name] = time.monotonic() + _THREADS_SECONDS
        logger.info(
            "%s occupied the event loop for more than %d ms; for the next %d s it runs in threads.",
            operation.name,
            _LONG_SECONDS * 1000,
            _THREADS_SECONDS,
        )


async def _same(answer: Answer) -> Answer:
    return answer


def route_path(scope: Scope) -> str:
    """The path within the application: without `root_path`, the prefix of a proxy or mount."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}:
        return path[len(root) :]
    return path
