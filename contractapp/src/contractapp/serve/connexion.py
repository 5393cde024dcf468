"""Connexion's internals: its middleware stack, the APIs added to it, its operations and its context variables.

This is the only module that uses Connexion's undocumented interfaces. Each of them, and why no documented one will do:

- `AbstractRoutingAPI` walks a `Specification` as Connexion's own APIs do, so that operations, base paths and handlers
  are found by the same rules. It passes an `AbstractOperation`; an `OpenAPIOperation` is one of OpenAPI 3, and an
  `OpenAPISpecification` its document.
- `default_middlewares`, `middlewares`, `ExceptionMiddleware`, and `asgi_app` of `_middleware_app` show whether the
  user's middleware comes between the contract's and the handlers: Connexion has no documented way to ask.
- `middleware_stack` and `_build_middleware_stack`: Connexion builds its stack at the first request; two first
  requests in two threads would build it twice.
- `apis`: `FlaskApp.add_api` returns nothing; the loaded document and the options in force are only found here.
- `_load_spec_from_file`, `specification_dir`, `create_spec_validator`, `openapi_schema` and `RefResolutionError`:
  Connexion stops at the first fault of a document, with an exception of another package; this module makes a
  sentence of each fault.
- `pythonic`, `sanitized` and `flaskify_endpoint` make the names of handler arguments and of Flask endpoints; copies of
  these functions would drift.
- `_context`, `_operation`, `_receive` and `_scope`: `connexion.request` and `connexion.context` read them, and only
  Connexion's last middleware sets them.

`tests/test_dropin.py` and `tests/test_startup.py` fail when one of these changes.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import connexion
import jsonschema
import yaml
from connexion import context
from connexion.decorators.parameter import pythonic, sanitized
from connexion.exceptions import InvalidSpecification, ResolverError
from connexion.frameworks.flask import flaskify_endpoint
from connexion.json_schema import RefResolutionError
from connexion.middleware import ConnexionMiddleware
from connexion.middleware.abstract import AbstractRoutingAPI
from connexion.middleware.exceptions import ExceptionMiddleware
from connexion.operations import AbstractOperation, OpenAPIOperation
from connexion.options import SwaggerUIOptions
from connexion.resolver import Resolver
from connexion.spec import OpenAPISpecification, Specification, create_spec_validator

from contractapp.answers import ProblemBody
from contractapp.compile.document import ContractError, Unsupported, dangling
from contractapp.compile.keys import is_key
from contractapp.compile.operation import CompiledOperation
from contractapp.compile.routes import Routes
from contractapp.idempotency import IdempotencyStore

logger = logging.getLogger("contractapp")

Handlers = Mapping[str, Callable[..., Any]]

# Options of Connexion that add the user's code to checking or serialising: such an API is left to stock Connexion.
OPTIONS_LEFT_TO_STOCK = ("validator_map", "uri_parser_class", "security_map", "auth_all_paths", "jsonifier")

DEFAULT_MIDDLEWARES = tuple(ConnexionMiddleware.default_middlewares)
_BEFORE = list(DEFAULT_MIDDLEWARES[: DEFAULT_MIDDLEWARES.index(ExceptionMiddleware) + 1])
_BEHIND_THE_CONTRACT = list(DEFAULT_MIDDLEWARES[DEFAULT_MIDDLEWARES.index(ExceptionMiddleware) + 1 :])


def with_contract(middlewares: Sequence[Any] | None, contract_middleware: Any) -> list[Any]:
    """The middlewares (by default Connexion's) with the contract's inserted after `ExceptionMiddleware`."""
    stack = list(DEFAULT_MIDDLEWARES if middlewares is None else middlewares)
    position = stack.index(ExceptionMiddleware) + 1 if ExceptionMiddleware in stack else 0
    return [*stack[:position], contract_middleware, *stack[position:]]


def is_stock_before(app: connexion.FlaskApp, contract_middleware: Any) -> bool:
    """Whether exactly Connexion's own middlewares come before the contract's."""
    stack: list[Any] = app.middleware.middlewares
    return type(app.middleware) is ConnexionMiddleware and stack[: stack.index(contract_middleware)] == _BEFORE


def is_stock_behind(app: connexion.FlaskApp, contract_middleware: Any) -> bool:
    """Whether exactly Connexion's own middlewares come after the contract's."""
    stack: list[Any] = app.middleware.middlewares
    return stack[stack.index(contract_middleware) + 1 :] == _BEHIND_THE_CONTRACT


def wsgi_application(app: connexion.FlaskApp) -> Any:
    """The WSGI application that Connexion calls: Flask's own, or the user's WSGI middleware around it."""
    return app._middleware_app.asgi_app.app  # noqa: SLF001


def build_stack(app: connexion.FlaskApp) -> None:
    """Build Connexion's middleware stack unless it is built; the caller must hold a lock."""
    middleware = app.middleware
    if middleware.middleware_stack is None:
        middleware.app, middleware.middleware_stack = middleware._build_middleware_stack()  # noqa: SLF001


def enter_context(operation: AbstractOperation, scope: Any, receive: Callable[[], Awaitable[Any]]) -> None:
    """Set the context variables that `connexion.request` and `connexion.context` read."""
    # What a middleware in front left for `connexion.context`; where none did, a new dictionary for each request.
    context._context.set((scope.get("extensions") or {}).get("connexion_context", {}))  # noqa: SLF001
    context._operation.set(operation)  # noqa: SLF001
    context._receive.set(receive)  # noqa: SLF001
    context._scope.set(scope)  # noqa: SLF001


class AddedAPI:
    """Connexion's data of the API that was added last."""

    def __init__(self, app: connexion.FlaskApp) -> None:
        self._added = app.middleware.apis[-1]
        self.specification: Specification = self._added.specification
        self.document: Mapping[str, Any] = self.specification.raw
        self.is_openapi = isinstance(self.specification, OpenAPISpecification)

    @property
    def options(self) -> Mapping[str, Any]:
        """Connexion's options that are in force for this API."""
        return {"base_path": self._added.base_path, **self._added.kwargs}

    def serve_swagger_ui(self, swagger_ui_options: SwaggerUIOptions | None) -> None:
        """Let Connexion publish the contract and Swagger UI."""
        self._added.kwargs["swagger_ui_options"] = swagger_ui_options


class HandlerResolver(Resolver):
    """Finds the handler of an operationId in a mapping."""

    def __init__(self, handlers: Handlers) -> None:
        super().__init__(self._find)
        self._handlers = handlers

    def _find(self, operation_id: str) -> Callable[..., Any]:
        try:
            return self._handlers[operation_id]
        except KeyError:
            raise ResolverError(f"no handler has the name of the operationId {operation_id!r}") from None


class ConnexionOperation(CompiledOperation):
    """A compiled operation, with Connexion's operation from which it was made, and its Flask endpoint."""

    def __init__(self, operation: AbstractOperation, *, pythonic_params: bool, **compiling: Any) -> None:
        if not isinstance(operation, OpenAPIOperation):
            raise Unsupported("Swagger 2")
        super().__init__(
            name=operation.operation_id,
            method=operation.method,
            path=operation.path,
            function=operation.function,
            argument_name=pythonic if pythonic_params else sanitized,
            **compiling,
        )
        self.connexion = operation
        self.endpoint: str = flaskify_endpoint(operation.operation_id, operation.randomize_endpoint)


class ContractAPI(AbstractRoutingAPI[ConnexionOperation | None]):
    """Compiles a contract into the routes; `faults` has a sentence for each thing that is wrong with it."""

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
        idempotency_store: IdempotencyStore | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        self._fallback = fallback
        self._problem_body = problem_body
        self._idempotency_store = idempotency_store
        self._name = name
        self.faults: list[str] = []
        self.endpoints: dict[str, ConnexionOperation] = {}
        self.left_to_stock = False
        self._routes = routes
        self._document = specification.raw
        self._strict = strict_validation
        self._validate_responses = validate_responses
        self._unsupported = [name for name in OPTIONS_LEFT_TO_STOCK if options.get(name)]
        self._seen: set[str] = set()
        super().__init__(specification, **options)
        if handlers is not None:
            self.faults.extend(
                f"The handler {name!r} has no operation in the contract." for name in handlers if name not in self._seen
            )

    def make_operation(self, operation: AbstractOperation) -> ConnexionOperation | None:
        if operation.operation_id in self._seen:
            self.faults.append(f"The operationId {operation.operation_id!r} is given twice.")
        self._seen.add(operation.operation_id)
        try:
            self._refuse_options()
            compiled = ConnexionOperation(
                operation,
                pythonic_params=self.pythonic_params,
                document=self._document,
                strict=self._strict,
                validate_responses=self._validate_responses,
                fallback=self._fallback,
                problem_body=self._problem_body,
                base_path=self.base_path,
                idempotency_store=self._idempotency_store,
            )
        except Unsupported as unsupported:
            if self._idempotency_store is not None and any(map(is_key, operation.parameters)):
                self.faults.append(
                    f"{operation.operation_id}: Idempotency-Key works only in a compiled operation; "
                    f"this one has {unsupported}."
                )
            logger.warning("%s is left to stock Connexion: it has %s.", operation.operation_id, unsupported)
            self.left_to_stock = True
            return None
        self.faults.extend(compiled.signature_faults() + compiled.key_faults())
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
        operation: ConnexionOperation | None,
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


@contextmanager
def faults_named(app: connexion.FlaskApp, contract: Path | str | dict[str, Any], arguments: Any) -> Iterator[None]:
    """A context in which exceptions of Connexion about a contract become a `ContractError` that lists its faults."""
    try:
        yield
    except InvalidSpecification as error:
        raise ContractError(_document_faults(_read(app, contract, arguments))) from error
    except RefResolutionError as error:
        faults = [
            f"The reference {reference} points to nothing." for reference in dangling(_read(app, contract, arguments))
        ]
        raise ContractError(faults or [f"The contract has an unusable reference: {_one_line(error)}"]) from error
    except (OSError, yaml.YAMLError) as error:
        raise ContractError([f"The contract cannot be read: {_one_line(error)}"]) from error


def _read(app: connexion.FlaskApp, contract: Path | str | dict[str, Any], arguments: Any) -> Any:
    if isinstance(contract, dict):
        return contract
    return Specification._load_spec_from_file(arguments, app.middleware.specification_dir / contract)  # noqa: SLF001


def _document_faults(document: Any) -> list[str]:
    if not isinstance(document, dict) or "openapi" not in document:
        return ["The contract does not say which version of OpenAPI it is written in."]
    validator = create_spec_validator(document)(OpenAPISpecification.openapi_schema)
    return [_document_fault(error) for error in validator.iter_errors(document)]


def _document_fault(error: jsonschema.ValidationError) -> str:
    while error.context:  # the branch that fits best has the most helpful message
        error = min(error.context, key=jsonschema.exceptions.relevance)
    where = "/".join(str(segment).replace("~", "~0").replace("/", "~1") for segment in error.absolute_path)
    return f"The contract is not OpenAPI at #/{where}: {_one_line(error.message)}"


def _one_line(error: object) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + "…"
