"""`ContractApp`: `connexion.FlaskApp` with its contract compiled at start-up.

Everything that is wrong with a contract or its handlers is said at once, when the API is added.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import connexion
import jsonschema
import yaml
from connexion.exceptions import InvalidSpecification, ResolverError
from connexion.frameworks.flask import flaskify_endpoint
from connexion.lifecycle import ConnexionResponse
from connexion.middleware import ConnexionMiddleware
from connexion.middleware.abstract import AbstractRoutingAPI
from connexion.middleware.exceptions import ExceptionMiddleware
from connexion.operations import AbstractOperation
from connexion.options import SwaggerUIOptions
from connexion.resolver import Resolver
from connexion.spec import OpenAPISpecification, Specification, create_spec_validator
from jsonschema.exceptions import _RefResolutionError
from starlette.exceptions import HTTPException

from contractapp.answers import ProblemBody, problem_answer
from contractapp.asgi.documentation import Documentation
from contractapp.compile.document import ContractError, Unsupported, dangling
from contractapp.compile.operation import CompiledOperation
from contractapp.compile.routes import Routes
from contractapp.problems import MEDIA_TYPE, InternalError, Problem
from contractapp.serve.flask import FlaskRunner
from contractapp.serve.middleware import ContractMiddleware
from contractapp.serve.workers import Workers

logger = logging.getLogger("contractapp")

Handlers = Mapping[str, Callable[..., Any]]

MAX_BODY_BYTES = 1024 * 1024

# Options of Connexion's that put code of the user's into checking or serialising: such an API is left to stock.
_OPTIONS_LEFT_TO_STOCK = ("validator_map", "uri_parser_class", "security_map", "auth_all_paths", "jsonifier")


class ContractApp(connexion.FlaskApp):
    """A drop-in for `connexion.FlaskApp`, with these arguments beside Connexion's own.

    `workers`: the threads that run handlers. `inline`: operationIds whose handlers never wait and run in the event
    loop. `max_body_bytes`: the limit over which a body is refused with 413. `landing`: a path that leads to Swagger UI.
    `problem_body`: the members of the JSON object that a problem becomes; `Problem.body` unless given.
    """

    def __init__(
        self,
        import_name: str,
        *,
        workers: Workers | None = None,
        inline: Iterable[str] = (),
        max_body_bytes: int = MAX_BODY_BYTES,
        landing: str | None = None,
        problem_body: ProblemBody = Problem.body,
        middlewares: list[Any] | None = None,
        swagger_ui_options: SwaggerUIOptions | None = None,
        **options: Any,
    ) -> None:
        self._routes = Routes()
        self._documentations: list[Documentation] = []
        self._endpoints: dict[str, CompiledOperation] = {}
        self._left_to_stock = False
        self._stock_documentation: list[tuple[Any, SwaggerUIOptions | None]] = []
        self._error_handlers: set[int | type[Exception]] = set()
        self._workers = workers or Workers()
        self._inline = frozenset(inline)
        self._max_body_bytes = max_body_bytes
        self._landing = landing
        self._problem_body = problem_body
        self._building = Lock()
        self._swagger_ui_options = swagger_ui_options
        stack = list(ConnexionMiddleware.default_middlewares if middlewares is None else middlewares)
        self._behind = [m for m in ConnexionMiddleware.default_middlewares if m not in _IN_FRONT]
        position = stack.index(ExceptionMiddleware) + 1 if ExceptionMiddleware in stack else 0
        stack.insert(position, self._contract_middleware)
        super().__init__(import_name, middlewares=stack, swagger_ui_options=swagger_ui_options, **options)
        self._runner = FlaskRunner(self.app)
        self._wsgi_app = self._middleware_app.asgi_app.app
        super().add_error_handler(Problem, self._answer_problem)
        super().add_error_handler(HTTPException, self._answer_http_exception)
        super().add_error_handler(Exception, self._answer_exception)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.middleware.middleware_stack is None:
            with self._building:  # as in ContractMiddleware: two threads must not build two
                if self.middleware.middleware_stack is None:
                    self.middleware.app, self.middleware.middleware_stack = self.middleware._build_middleware_stack()  # noqa: SLF001
        await self.middleware(scope, receive, send)

    def add_error_handler(self, code_or_exception: int | type[Exception], function: Callable[..., Any]) -> None:
        """Register an error handler, as in Connexion; one for a status also gets the refusals of that status."""
        super().add_error_handler(code_or_exception, function)
        self._error_handlers.add(code_or_exception)

    def add_api(
        self, specification: Path | str | dict[str, Any], *, handlers: Handlers | None = None, **options: Any
    ) -> None:
        """Add an API, as in Connexion; with `handlers`, operationIds are their names and none may be missing or left.

        Raises `ContractError` with every fault of the contract and its handlers.
        """
        if handlers is not None:
            options["resolver"] = _HandlerResolver(handlers)
        ui = options.get("swagger_ui_options") or self._swagger_ui_options or SwaggerUIOptions()
        ours = not (ui.swagger_ui_template_dir or ui.swagger_ui_config or ui.swagger_ui_template_arguments)
        if ours:
            options["swagger_ui_options"] = SwaggerUIOptions(serve_spec=False, swagger_ui=False)
        try:
            super().add_api(specification, **options)
        except InvalidSpecification as error:
            raise ContractError(_document_faults(self._load(specification, options.get("arguments")))) from error
        except _RefResolutionError as error:
            document = self._load(specification, options.get("arguments"))
            faults = [f"The reference {reference} points to nothing." for reference in dangling(document)]
            raise ContractError(faults or [f"The contract has an unusable reference: {_one_line(error)}"]) from error
        except (OSError, yaml.YAMLError) as error:
            raise ContractError([f"The contract cannot be read: {_one_line(error)}"]) from error
        added = self.middleware.apis[-1]
        api = _ContractAPI(
            added.specification,
            base_path=added.base_path,
            routes=self._routes,
            handlers=handlers,
            fallback=lambda data: self.app.json.dumps(data).encode(),
            problem_body=self._problem_body,
            **added.kwargs,
        )
        if api.faults:
            raise ContractError(api.faults)
        self._endpoints.update(api.endpoints)
        self._left_to_stock = self._left_to_stock or api.left_to_stock
        if not isinstance(added.specification, OpenAPISpecification):
            added.kwargs["swagger_ui_options"], ours = ui, False
        if not ours:
            self._left_to_stock = True
        else:
            self._stock_documentation.append((added, ui))
            self._documentations.append(
                Documentation(
                    added.specification.raw,
                    api.base_path,
                    json_path=(ui.spec_path or "/openapi.json") if ui.serve_spec else None,
                    ui_path=ui.swagger_ui_path if ui.swagger_ui else None,
                    landing=self._landing,
                )
            )

    def _load(self, specification: Any, arguments: dict[str, Any] | None) -> Any:
        if isinstance(specification, dict):
            return specification
        path = self.middleware.specification_dir / specification
        return Specification._load_spec_from_file(arguments, path)  # noqa: SLF001

    def _contract_middleware(self, app: Any) -> Any:
        """Called by Connexion when it builds its stack, after everything was added."""
        stack = self.middleware.middlewares
        position = stack.index(self._contract_middleware) + 1
        if stack[position:] != self._behind or self._middleware_app.asgi_app.app is not self._wsgi_app:
            logger.warning("Middleware stands behind the contract's: every operation is left to stock Connexion.")
            for api, swagger_ui_options in self._stock_documentation:
                api.kwargs["swagger_ui_options"] = swagger_ui_options
            return app
        self._leave_rules_to_flask()
        return ContractMiddleware(
            app,
            routes=self._routes,
            documentations=self._documentations,
            runner=self._runner,
            prepare=partial(self._runner.prepare, self._endpoints),
            workers=self._workers,
            inline=self._inline,
            max_body_bytes=self._max_body_bytes,
            # The rules of APIs come later: whatever Flask routes by now is the user's own.
            owns_unknown_paths=not self._left_to_stock and not any(self.app.url_map.iter_rules()),
            handled=self._handled,
            problem_body=self._problem_body,
        )

    def _leave_rules_to_flask(self) -> None:
        """A path that the user gave to Flask goes there, even where a template of the contract fits it too."""
        for rule in self.app.url_map.iter_rules():
            if not rule.arguments and self._routes.find(rule.rule) is not None:
                for method in rule.methods or ():
                    self._routes.add(rule.rule, method, None)

    def _handled(self, problem: Problem) -> Exception | None:
        """What to raise so that an error handler of the user's gets the problem; None where there is no such."""
        if self._error_handlers.isdisjoint({problem.status, HTTPException, *type(problem).__mro__[:-3]}):
            return None
        if problem.status in self._error_handlers or HTTPException in self._error_handlers:
            return HTTPException(problem.status, detail=problem.detail, headers=problem.headers)
        return problem

    def _answer_problem(self, _request: Any, problem: Exception) -> ConnexionResponse:
        assert isinstance(problem, Problem)  # registered for this class alone
        return ConnexionResponse(
            status_code=problem.status,
            mimetype=MEDIA_TYPE,
            content_type=MEDIA_TYPE,
            body=problem_answer(problem, self._problem_body(problem)).body,
            headers=problem.headers,
        )

    def _answer_http_exception(self, request: Any, error: Exception) -> ConnexionResponse:
        assert isinstance(error, HTTPException)  # registered for this class alone
        problem = Problem(error.detail, status=error.status_code, headers=error.headers)
        return self._answer_problem(request, problem)

    def _answer_exception(self, request: Any, error: Exception) -> ConnexionResponse:
        logger.error("A request failed.", exc_info=error)
        return self._answer_problem(request, InternalError())


class _HandlerResolver(Resolver):
    """operationId to handler, by name."""

    def __init__(self, handlers: Handlers) -> None:
        super().__init__(self._find)
        self._handlers = handlers

    def _find(self, operation_id: str) -> Callable[..., Any]:
        try:
            return self._handlers[operation_id]
        except KeyError:
            raise ResolverError(f"no handler has the name of the operationId {operation_id!r}") from None


class _ContractAPI(AbstractRoutingAPI[CompiledOperation | None]):
    """One contract compiled into the routes."""

    def __init__(
        self,
        specification: Specification,
        *,
        routes: Routes,
        handlers: Handlers | None,
        strict_validation: bool = False,
        validate_responses: bool = False,
        fallback: Callable[[Any], bytes],
        problem_body: ProblemBody,
        name: str | None = None,
        **options: Any,
    ) -> None:
        self._fallback = fallback
        self._problem_body = problem_body
        self._name = name
        self.faults: list[str] = []
        self.endpoints: dict[str, CompiledOperation] = {}
        self.left_to_stock = False
        self._routes = routes
        self._document = specification.raw
        self._strict = strict_validation
        self._validate_responses = validate_responses
        self._unsupported = [name for name in _OPTIONS_LEFT_TO_STOCK if options.get(name)]
        self._seen: set[str] = set()
        super().__init__(specification, **options)
        if handlers is not None:
            self.faults.extend(
                f"The handler {name!r} has no operation in the contract." for name in handlers if name not in self._seen
            )

    def make_operation(self, operation: AbstractOperation) -> CompiledOperation | None:
        if operation.operation_id in self._seen:
            self.faults.append(f"The operationId {operation.operation_id!r} is given twice.")
        self._seen.add(operation.operation_id)
        try:
            self._refuse_options()
            compiled = CompiledOperation(
                operation,
                self._document,
                strict=self._strict,
                pythonic_params=self.pythonic_params,
                validate_responses=self._validate_responses,
                fallback=self._fallback,
                problem_body=self._problem_body,
            )
        except Unsupported as unsupported:
            logger.warning("%s is left to stock Connexion: it has %s.", operation.operation_id, unsupported)
            self.left_to_stock = True
            return None
        self.faults.extend(compiled.signature_faults())
        return compiled

    def _refuse_options(self) -> None:
        if self._unsupported:
            raise Unsupported(f"the option {self._unsupported[0]}")

    @staticmethod
    def _framework_path_and_name(operation: AbstractOperation, path: str) -> tuple[str, str]:
        return path, operation.operation_id

    def _add_operation_internal(
        self,
        method: str,
        path: str,
        operation: CompiledOperation | None,
        name: str | None = None,  # noqa: ARG002  # Connexion's signature
    ) -> None:
        self._routes.add(self.base_path + path, method.upper(), operation)
        if operation is not None:
            blueprint = self._name or flaskify_endpoint(self.base_path) or "/"
            self.endpoints[f"{blueprint}.{operation.endpoint}"] = operation

    def _add_resolver_error_handler(self, method: str, path: str, err: ResolverError) -> None:  # noqa: ARG002  # as above
        self.left_to_stock = True
        self._routes.add(self.base_path + path, method.upper(), None)

    def _handle_add_operation_error(self, path: str, method: str, exc: Exception) -> None:
        where = f"{method.upper()} {path}"
        if isinstance(exc, ContractError):
            self.faults.extend(f"{where}: {fault}" for fault in exc.faults)
        elif isinstance(exc, ResolverError):
            self.faults.append(f"{where}: {_one_line(exc.args[0])}.")
        else:
            self.faults.append(f"{where}: {_one_line(exc)}")


_IN_FRONT = ConnexionMiddleware.default_middlewares[
    : ConnexionMiddleware.default_middlewares.index(ExceptionMiddleware) + 1
]


def _one_line(error: object) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + "…"


def _document_faults(specification: Any) -> list[str]:
    if not isinstance(specification, dict) or "openapi" not in specification:
        return ["The contract does not say which version of OpenAPI it is written in."]
    validator = create_spec_validator(specification)(OpenAPISpecification.openapi_schema)
    return [_specification_fault(error) for error in validator.iter_errors(specification)]


def _specification_fault(error: jsonschema.ValidationError) -> str:
    while error.context:  # the branch that fits best says most
        error = min(error.context, key=jsonschema.exceptions.relevance)
    where = "/".join(str(segment).replace("~", "~0").replace("/", "~1") for segment in error.absolute_path)
    return f"The contract is not OpenAPI at #/{where}: {_one_line(error.message)}"
