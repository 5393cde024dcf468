"""`ContractApp`: `connexion.FlaskApp` with its contract compiled at start-up.

When an API is added, one exception lists everything that is wrong with its contract and its handlers.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import connexion
from connexion.lifecycle import ConnexionResponse
from connexion.options import SwaggerUIOptions
from starlette.exceptions import HTTPException

from contractapp.answers import Answer, ASGIApp, ProblemBody, RespondAtOnce, Scope, problem_answer
from contractapp.asgi.documentation import Documentation
from contractapp.compile.document import ContractError
from contractapp.compile.preconditions import require_if_match
from contractapp.compile.routes import Routes
from contractapp.idempotency import IdempotencyStore
from contractapp.problems import MEDIA_TYPE, InternalError, Problem
from contractapp.serve.connexion import (
    DEFAULT_MIDDLEWARES,
    AddedAPI,
    ConnexionOperation,
    ContractAPI,
    HandlerResolver,
    Handlers,
    build_stack,
    faults_named,
    is_stock_before,
    is_stock_behind,
    with_contract,
    wsgi_application,
)
from contractapp.serve.contract import Contract
from contractapp.serve.flask import FlaskRunner
from contractapp.serve.middleware import ContractMiddleware
from contractapp.serve.workers import Workers

logger = logging.getLogger("contractapp")

MAX_BODY_BYTES = 1024 * 1024


class ContractApp(connexion.FlaskApp):
    """A drop-in replacement for `connexion.FlaskApp` that compiles its contract at start-up and enforces it.

    It is an ASGI application. Its attribute `app` is the Flask application, whose hooks, sessions and signals work as
    in Flask. It takes the arguments of `connexion.FlaskApp`, unchanged, and these:

    Args:
        import_name: The name of the application's package, as in Flask: `__name__`.
        workers: The threads that run handlers; by default `Workers()`.
        inline: The operationIds of handlers that never block: they run in the event loop, without a thread. They wait
            with `in_thread` and `wait`. In an application with request hooks, which may block, they run in threads.
        max_body_bytes: The largest request body; 413 for a larger one (RFC 9110, section 15.5.14).
        require_if_match: Whether operations that document a 428 require `If-Match`, if their contract has it as an
            optional header parameter. The published contract says that it is required.
        landing: A path that redirects to Swagger UI, such as `/`.
        idempotency_store: Remembers the answers to requests with a key, for every operation that declares the header
            parameter `Idempotency-Key`. Without a store, the header is checked like any other.
        problem_body: A function from a `Problem` to the members of its JSON object; by default `Problem.body`.
        middlewares: As in Connexion. Compiled operations are used only if no middleware of your own comes after
            Connexion's `ExceptionMiddleware`.
        swagger_ui_options: As in Connexion.
        options: The other arguments of `connexion.FlaskApp`, such as `strict_validation` and `validate_responses`.
    """

    default_middlewares = DEFAULT_MIDDLEWARES
    """Connexion's own middlewares: put others before them in the argument `middlewares`."""

    def __init__(
        self,
        import_name: str,
        *,
        workers: Workers | None = None,
        inline: Iterable[str] = (),
        max_body_bytes: int = MAX_BODY_BYTES,
        require_if_match: bool = False,
        landing: str | None = None,
        idempotency_store: IdempotencyStore | None = None,
        problem_body: ProblemBody = Problem.body,
        middlewares: list[Any] | None = None,
        swagger_ui_options: SwaggerUIOptions | None = None,
        **options: Any,
    ) -> None:
        self._routes = Routes()
        self._documentations: list[Documentation] = []
        self._contracts: list[tuple[str, Mapping[str, Any]]] = []
        self._endpoints: dict[str, ConnexionOperation] = {}
        self._left_to_stock = False
        self._published: list[tuple[AddedAPI, SwaggerUIOptions]] = []
        self._error_handlers: set[int | type[Exception]] = set()
        self._workers = workers or Workers()
        self._inline = frozenset(inline)
        self._max_body_bytes = max_body_bytes
        self._require_if_match = require_if_match
        self._landing = landing
        self._idempotency_store = idempotency_store
        self._problem_body = problem_body
        self._is_built = False
        self._building = Lock()
        self._respond: RespondAtOnce | None = None
        self._stock_middleware: Any = None  # the user may replace `middleware`
        self._swagger_ui_options = swagger_ui_options
        stack = with_contract(middlewares, self._contract_middleware)
        super().__init__(import_name, middlewares=stack, swagger_ui_options=swagger_ui_options, **options)
        self._runner = FlaskRunner(self.app)
        self._flask_wsgi_app = wsgi_application(self)
        super().add_error_handler(Problem, self._answer_problem)
        super().add_error_handler(HTTPException, self._answer_http_exception)
        super().add_error_handler(Exception, self._answer_exception)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not self._is_built:
            self.build()
        await self.middleware(scope, receive, send)

    def respond_at_once(self, scope: Scope, content: bytes) -> Answer | ASGIApp | None:
        """Answer a request without the layers in front of the contract, where these are Connexion's own.

        Args:
            scope: The scope of the request, as in ASGI; it may be changed.
            content: The whole body.

        Returns:
            The answer to send, an application to run once in place of this one, or None: run this one.
        """
        if self._respond is None or self.middleware is not self._stock_middleware:
            return None
        scope["app"] = self.middleware  # as Connexion does
        return self._respond(scope, content)

    def build(self) -> None:
        """Build the middleware stack now. Otherwise the first request does so: in each process that a server forked."""
        with self._building:  # the first requests may come from event loops in several threads
            build_stack(self)
            self._is_built = True

    @property
    def contracts(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """The base path and the document of each API that was added.

        The document is as written, except that its servers are replaced if a `base_path` was given.
        """
        return tuple(self._contracts)

    def add_error_handler(self, code_or_exception: int | type[Exception], function: Callable[..., Any]) -> None:
        """Register an error handler, as in Connexion. It is also called for refused requests with its status.

        Args:
            code_or_exception: A status, or a class of exceptions such as `Problem`.
            function: Takes the request and the exception, and returns the response.
        """
        super().add_error_handler(code_or_exception, function)
        self._error_handlers.add(code_or_exception)

    def add_api(
        self, specification: Path | str | dict[str, Any], *, handlers: Handlers | None = None, **options: Any
    ) -> None:
        """Add the API of one contract, as in Connexion.

        Args:
            specification: An OpenAPI 3.0 document, or the path of one, relative to `specification_dir`.
            handlers: The function for each operationId. If not given, Connexion's `resolver` finds the functions.
            options: The other arguments of Connexion's `add_api`, such as `base_path` and `resolver`.

        Raises:
            ContractError: The contract cannot be served, or the handlers do not match it: an operation has no
                handler, a handler has no operation, or the arguments of a handler are not those of its operation.
                The exception lists all faults.
        """
        if handlers is not None:
            options["resolver"] = HandlerResolver(handlers)
        ui = options.get("swagger_ui_options") or self._swagger_ui_options or SwaggerUIOptions()
        is_customised = ui.swagger_ui_template_dir or ui.swagger_ui_config or ui.swagger_ui_template_arguments
        if not is_customised:
            options["swagger_ui_options"] = SwaggerUIOptions(serve_spec=False, swagger_ui=False)
        with faults_named(self, specification, options.get("arguments")):
            super().add_api(specification, **options)
        added = AddedAPI(self)
        if self._require_if_match:
            require_if_match(added.document)
        base_path = self._compile(added, handlers)
        if is_customised or not added.is_openapi:
            added.serve_swagger_ui(ui)
            self._left_to_stock = True
        else:
            self._publish(added, base_path, ui)

    def _compile(self, added: AddedAPI, handlers: Handlers | None) -> str:
        """Compile the API into the routes; returns its base path."""
        api = ContractAPI(
            added.specification,
            routes=self._routes,
            handlers=handlers,
            fallback=lambda data: self.app.json.dumps(data).encode(),
            problem_body=self._problem_body,
            idempotency_store=self._idempotency_store,
            **added.options,
        )
        if api.faults:
            raise ContractError(api.faults)
        self._contracts.append((api.base_path, added.document))
        self._endpoints.update(api.endpoints)
        self._left_to_stock = self._left_to_stock or api.left_to_stock
        return api.base_path

    def _publish(self, added: AddedAPI, base_path: str, ui: SwaggerUIOptions) -> None:
        """Publish the contract as it was written, and Swagger UI, in place of Connexion's versions of both."""
        self._published.append((added, ui))
        self._documentations.append(
            Documentation(
                added.document,
                base_path,
                json_path=(ui.spec_path or "/openapi.json") if ui.serve_spec else None,
                ui_path=ui.swagger_ui_path if ui.swagger_ui else None,
                landing=self._landing,
            )
        )

    def _contract_middleware(self, app: Any) -> Any:
        """The contract's layer around `app`. Connexion calls this after all APIs were added, to build its stack."""
        has_wsgi_middleware = wsgi_application(self) is not self._flask_wsgi_app
        if has_wsgi_middleware or not is_stock_behind(self, self._contract_middleware):
            if self._idempotency_store is not None:
                raise ContractError(["Other middleware follows the contract's: Idempotency-Key cannot work."])
            logger.warning("Other middleware follows the contract's: every operation is left to stock Connexion.")
            for added, swagger_ui_options in self._published:
                added.serve_swagger_ui(swagger_ui_options)
            return app
        self._leave_rules_to_flask()
        contract = Contract(
            routes=self._routes,
            documentations=self._documentations,
            runner=self._runner,
            workers=self._workers,
            inline=self._inline,
            max_body_bytes=self._max_body_bytes,
            # Connexion adds the rules of its APIs later: all rules that Flask has now are the user's.
            owns_unknown_paths=not self._left_to_stock and not any(self.app.url_map.iter_rules()),
            error_for_handler=self._error_for_handler,
            problem_body=self._problem_body,
        )
        prepare = partial(self._runner.prepare, self._endpoints)
        middleware = ContractMiddleware(app, contract, prepare=prepare, layers=self)
        if type(self).__call__ is ContractApp.__call__ and is_stock_before(self, self._contract_middleware):
            self._respond, self._stock_middleware = middleware.respond_at_once, self.middleware
        return middleware

    def _leave_rules_to_flask(self) -> None:
        """Leave each path that the user routed in Flask to Flask, even if a template of the contract matches it."""
        for rule in self.app.url_map.iter_rules():
            if not rule.arguments and self._routes.find(rule.rule) is not None:
                for method in rule.methods or ():
                    self._routes.add(rule.rule, method, None)

    def _error_for_handler(self, problem: Problem) -> Exception | None:
        """The exception to raise so that an error handler of the user gets the problem; None if there is no handler."""
        if self._error_handlers.isdisjoint({problem.status, HTTPException, *type(problem).__mro__[:-3]}):
            return None
        if problem.status in self._error_handlers or HTTPException in self._error_handlers:
            return HTTPException(problem.status, detail=problem.detail, headers=problem.headers)
        return problem

    def _answer_problem(self, _request: Any, problem: Exception) -> ConnexionResponse:
        assert isinstance(problem, Problem)  # registered only for this class
        return ConnexionResponse(
            status_code=problem.status,
            mimetype=MEDIA_TYPE,
            content_type=MEDIA_TYPE,
            body=problem_answer(problem, self._problem_body(problem)).body,
            headers=problem.headers,
        )

    def _answer_http_exception(self, request: Any, error: Exception) -> ConnexionResponse:
        assert isinstance(error, HTTPException)  # registered only for this class
        problem = Problem(error.detail, status=error.status_code, headers=error.headers)
        return self._answer_problem(request, problem)

    def _answer_exception(self, request: Any, error: Exception) -> ConnexionResponse:
        logger.error("A request failed.", exc_info=error)
        error.__traceback__ = None  # its frames hold the request's body and the error; older Starlettes keep it
        return self._answer_problem(request, InternalError())
