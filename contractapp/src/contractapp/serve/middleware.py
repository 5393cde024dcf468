"""The ASGI middleware that serves the compiled operations, in front of Connexion's own stack.

It finds the operation, checks the request in the event loop (a refusal needs no thread), runs the handler, and sends
the answer. All other requests go unchanged to the next application, Connexion's stack.
"""

from collections.abc import Callable
from functools import partial
from threading import Lock

from contractapp.answers import Answer, ASGIApp, Message, Receive, Scope, Send, send_answer
from contractapp.compile.body import entity_of, read_body
from contractapp.problems import ContentTooLarge, Problem
from contractapp.serve.contract import Contract, Found, Started, route_path
from contractapp.serve.flask import Call

# The member of a scope with an exception to raise, for the layers in front.
_RAISE = "contractapp.raise"


class ContractMiddleware:
    """Answers requests for compiled operations and for the documentation."""

    def __init__(self, app: ASGIApp, contract: Contract, *, prepare: Callable[[], None], layers: ASGIApp) -> None:
        """`layers` is the whole application: this middleware with the ones in front of it."""
        self.app = app
        self._contract = contract
        self._layers = layers
        self._prepare: Callable[[], None] | None = prepare
        self._preparing = Lock()

    def respond_at_once(self, scope: Scope, content: bytes) -> Answer | ASGIApp | None:
        """The answer to a request whose body has arrived, an application that sends it, or None for the whole stack.

        The layers in front get only what is raised.
        """
        contract = self._contract
        try:
            if self._prepare is not None:
                self._prepare_once()
            try:
                found = contract.find(scope)
                if found is None or isinstance(found, Answer):
                    return found
                operation, values = found
                headers = scope["headers"]
                body, validator = None, None
                if operation.body is not None:
                    validator = operation.check_body_headers(headers, contract.max_body_bytes)
                    if len(content) > contract.max_body_bytes:  # a chunked body does not announce its length
                        raise ContentTooLarge(contract.max_body_bytes)
                    body = content
                arguments = operation.bind(values, scope["query_string"], headers, body, validator)
            except Problem as problem:
                return contract.refusal(problem)
            outcome = contract.start(Call(operation, scope, arguments, body or b""), contract.workers.deadline())
        except BaseException as error:  # noqa: BLE001  # the layers in front and the server answer it
            return self._raising(error)
        return partial(self._finish, outcome) if isinstance(outcome, Started) else outcome

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            try:
                await self.app(scope, receive, send)
            finally:
                if scope["type"] == "lifespan":
                    self._contract.workers.close()
            return
        if _RAISE in scope:
            raise scope.pop(_RAISE)
        if self._prepare is not None:  # not before Connexion has registered the APIs with Flask
            self._prepare_once()
        try:
            answer = await self._answer(scope, receive, send)
        except Problem as problem:
            answer = self._contract.refusal(problem)
        if answer is not None:
            await send_answer(answer, send, head=scope["method"] == "HEAD")

    def _prepare_once(self) -> None:
        with self._preparing:  # the first requests may come from event loops in several threads
            if self._prepare is not None:
                self._prepare()
                self._prepare = None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """The answer, or None if a response was sent already."""
        found = self._contract.find(scope)
        if found is None:
            return await self._left(scope, receive, send)
        if isinstance(found, Answer):
            return found
        return await self._run(found, scope, receive, send)

    async def _left(self, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """The answer for a page of the documentation that is not made yet; other requests are left to Connexion."""
        contract, path = self._contract, route_path(scope)
        for documentation in contract.documentations:
            if path in documentation.paths:  # made once, in a thread: it is serialised and compressed
                make = partial(documentation.make, path, scope.get("root_path", ""))
                page = await contract.workers.run(contract.workers.read, make)
                answer: Answer = page.answer(scope["method"], scope["headers"])
                return answer
        if contract.has(path):
            await self._run_stock(scope, receive, send)
        else:
            await self._call_next(scope, receive, send)
        return None

    async def _run(self, found: Found, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        contract = self._contract
        operation, values = found
        headers = scope["headers"]
        deadline = contract.workers.deadline()
        validator, content = None, None
        if operation.body is not None:
            validator = operation.check_body_headers(headers, contract.max_body_bytes)
            content = await read_body(receive, contract.max_body_bytes, contract.workers.timeout_seconds)
        arguments = operation.bind(values, scope["query_string"], headers, content, validator)
        outcome = contract.start(Call(operation, dict(scope), arguments, content or b""), deadline)
        if not isinstance(outcome, Started):
            return outcome
        answer = await contract.result(outcome)
        if answer.stream is None:
            return answer
        await contract.send_stream(outcome, answer, receive, send)
        return None

    async def _finish(self, started: Started, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._contract.result(started)
        except Exception as error:  # noqa: BLE001  # the layers in front answer it
            raising = self._raising(error)
        else:
            if answer.stream is None:
                await send_answer(answer, send, head=scope["method"] == "HEAD")
            else:
                await self._contract.send_stream(started, answer, receive, send)
            return
        await raising(scope, receive, send)

    def _raising(self, error: BaseException) -> ASGIApp:
        """The whole application, with this error raised in place of this middleware; call it once."""
        errors = [error]
        del error  # no reference cycle: the layers in front raise the error again, through this frame's closure

        async def raise_it(scope: Scope, receive: Receive, send: Send) -> None:
            scope[_RAISE] = errors.pop()
            await self._layers(scope, receive, send)

        return raise_it

    async def _run_stock(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call Connexion's stack. A chunked body is read first, so that it is limited and gets a Content-Length."""
        max_body_bytes = self._contract.max_body_bytes
        entity = entity_of(scope["headers"], max_body_bytes)
        if not entity.present or entity.length is not None:
            await self._call_next(scope, receive, send)
            return
        content = await read_body(receive, max_body_bytes, self._contract.workers.timeout_seconds)
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
