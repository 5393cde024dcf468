"""A compiled operation of the contract: converts a request to checked arguments, and a result to an answer.

For a feature that it does not support, the compiler raises `Unsupported`: the operation is left to stock Connexion.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from contractapp.answers import Answer, ProblemBody
from contractapp.compile import keys
from contractapp.compile.body import Entity, RequestBody, entity_of
from contractapp.compile.document import Unsupported, resolve
from contractapp.compile.parameters import MISSING, Headers, Parameter, Query, is_parameter
from contractapp.compile.preconditions import ARGUMENTS, ON_GET, PreconditionHeaders, unmodified_headers
from contractapp.compile.response import Responses
from contractapp.compile.schema import Validator
from contractapp.idempotency import IdempotencyStore
from contractapp.problems import Fault, InvalidRequest

# The argument in which Connexion passes its own context, which is not a parameter of the contract.
_INJECTED = "context_"


class CompiledOperation:
    """The data of an operation that is the same for all its requests."""

    def __init__(
        self,
        *,
        name: str,
        method: str,
        path: str,
        function: Callable[..., Any],
        argument_name: Callable[[str], str],
        document: Mapping[str, Any],
        strict: bool,
        validate_responses: bool,
        fallback: Callable[[Any], bytes],
        problem_body: ProblemBody,
        base_path: str = "",
        idempotency_store: IdempotencyStore | None = None,
    ) -> None:
        """Compile the operation at `path` and `method` (in lower case) of the document.

        `argument_name` converts the name of a parameter to the name of the handler's argument. `fallback` serialises
        the values that orjson cannot. Without a store, `Idempotency-Key` is a header parameter like any other.
        """
        self.name = name
        self.method = method.upper()
        self.function = function
        path_item = resolve(document, document["paths"][path])
        definition = path_item[method]
        _refuse_unknown(path, method, function, definition.get("security", document.get("security")))
        if definition.get("servers") or path_item.get("servers"):
            raise Unsupported("servers of its own")
        self._argument_name = argument_name
        parameters = _parameters(path_item, definition, document, with_key=idempotency_store is not None)
        self.answer: keys.Answering = self._answer
        self._missing_statuses: list[str] = []
        if idempotency_store is not None and any(isinstance(parameter, keys.Key) for parameter in parameters):
            self._missing_statuses = keys.missing_statuses(definition.get("responses", {}))
            self.answer = keys.once(self._answer, idempotency_store, f"{self.method} {base_path}{path}")
        self._compile_preconditions(parameters, definition)
        self._compile_parameters(path, parameters, strict=strict)
        self.body: RequestBody | None = None
        if "requestBody" in definition:
            if self.method in {"GET", "DELETE"}:
                raise Unsupported(f"a body on {self.method}")
            self.body = RequestBody(resolve(document, definition["requestBody"]), document)
        self.responses = Responses(
            definition.get("responses", {}),
            document,
            name=f"{self.method} {path}",
            validate=validate_responses,
            fallback=fallback,
            problem_body=problem_body,
        )
        self._bind_signature(definition, document)

    def check_body_headers(self, headers: Sequence[tuple[bytes, bytes]], max_body_bytes: int) -> Validator | None:
        """The validator for the body that the headers announce; raises the problem 413 or 415."""
        entity: Entity = entity_of(headers, max_body_bytes)
        return self.body.check_media_type(entity) if self.body else None

    def bind(
        self,
        path_values: Sequence[str],
        query_string: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        content: bytes | None,
        validator: Validator | None,
    ) -> dict[str, Any]:
        """The handler's keyword arguments; raises `InvalidRequest` with all faults of the request."""
        faults: list[Fault] = []
        arguments = {}
        for text, (argument, parameter) in zip(path_values, self._path, strict=True):
            arguments[argument] = parameter.read(text, faults)
        if query_string or self._has_query:
            for name, value in self._query.read(query_string, faults).items():
                argument_name = self._query_arguments.get(name)
                if argument_name is not None:
                    arguments[argument_name] = value
        if self._headers.parameters:
            self._headers.read(headers, arguments, faults)
        preconditions = self._preconditions.read(headers, faults) if self._preconditions is not None else None
        if self.body is not None and content is not None:
            value = self.body.read(content, validator, faults)
            if self._body_argument is not None:
                arguments[self._body_argument] = value
        if faults:
            raise InvalidRequest(errors=faults)
        if self._preconditions is not None and preconditions is not None:
            self._preconditions.bind(preconditions, arguments)
        return arguments

    def _answer(self, arguments: dict[str, Any], path: str) -> Answer:
        """Call the handler with the arguments that `bind` returned; the answer for its result.

        `path` is that of the request.
        """
        if ON_GET not in arguments:
            return self.responses.answer(self.function(**arguments), path)
        preconditions = arguments.pop(ON_GET)
        result = self.function(**arguments)
        unmodified = unmodified_headers(result, preconditions)
        return self.responses.answer(result, path) if unmodified is None else self.responses.not_modified(unmodified)

    def _compile_parameters(self, path: str, parameters: Sequence[Parameter], *, strict: bool) -> None:
        by_name = {p.name: p for p in parameters if p.location == "path"}
        names = [segment[1:-1] for segment in path.split("/") if segment.startswith("{")]
        self._path = [(self._argument_name(name), by_name[name]) for name in names if name in by_name]
        if len(self._path) != len(names) or len(by_name) != len(names):
            raise Unsupported("path parameters that do not match the path")
        query = [p for p in parameters if p.location == "query"]
        self._query = Query(query, strict=strict)
        self._has_query = bool(query)
        own = () if self._preconditions is None else self._preconditions.parameters
        headers = [p for p in parameters if p.location == "header"]
        self._headers = Headers([p for p in headers if p.name.lower().encode() not in own])

    def _compile_preconditions(self, parameters: Sequence[Parameter], definition: Mapping[str, Any]) -> None:
        headers = [p for p in parameters if p.location == "header" and p.name.lower() in ARGUMENTS]
        self._preconditions: PreconditionHeaders | None = None
        if not headers:
            return
        statuses = [str(status) for status in definition.get("responses", {})]
        taken = inspect.signature(inspect.unwrap(self.function)).parameters
        found = PreconditionHeaders(headers, self.method, statuses, taken)
        if found.parameters:
            self._preconditions = found

    def _bind_signature(self, definition: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        signature = inspect.signature(inspect.unwrap(self.function))
        takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        if _INJECTED in signature.parameters:
            raise Unsupported("a handler that takes context_")
        names = {name: self._argument_name(name) for name in self._query.parameters}
        self._query_arguments = {k: v for k, v in names.items() if takes_any or v in signature.parameters}
        body = resolve(document, definition.get("requestBody", {})).get("x-body-name", "body")
        body = self._argument_name(body)
        self._body_argument = body if self.body and (takes_any or body in signature.parameters) else None

    def key_faults(self) -> list[str]:
        """One sentence for each status that comes with `Idempotency-Key` and is not in the contract."""
        return [
            f"{self.name}: an operation with the parameter Idempotency-Key needs the response {status}."
            for status in self._missing_statuses
        ]

    def signature_faults(self) -> list[str]:
        """One sentence for each argument of the handler that does not match the contract."""
        given = {argument for argument, _ in self._path}
        sometimes = set(self._query_arguments.values())
        if self._preconditions is not None and self.method != "GET":
            sometimes |= {argument for argument, _ in self._preconditions.parameters.values()}
        always = given | {
            self._query_arguments[name]
            for name, p in self._query.parameters.items()
            if name in self._query_arguments and (p.required or p.default is not MISSING)
        }
        if self._body_argument:
            always.add(self._body_argument)
        signature = inspect.signature(inspect.unwrap(self.function)).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.values())
        faults = [
            f"{self.name}: the handler does not take the path parameter {argument!r}."
            for argument in sorted(given)
            if not takes_any and argument not in signature
        ]
        for name, parameter in signature.items():
            if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
                continue
            if parameter.kind is parameter.POSITIONAL_ONLY:
                faults.append(f"{self.name}: the handler's argument {name!r} cannot be given by name.")
            elif name not in always | sometimes and parameter.default is parameter.empty:
                faults.append(f"{self.name}: the contract has nothing for the handler's argument {name!r}.")
            elif name in sometimes - always and parameter.default is parameter.empty:
                faults.append(
                    f"{self.name}: the handler's argument {name!r} is optional in the contract; give it a default."
                )
        return faults


def _parameters(
    path_item: Mapping[str, Any], definition: Mapping[str, Any], document: Mapping[str, Any], *, with_key: bool
) -> list[Parameter]:
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for item in (*path_item.get("parameters", ()), *definition.get("parameters", ())):
        parameter = resolve(document, item)
        found[parameter["in"], parameter["name"]] = parameter
    return [
        keys.Key(parameter, document) if with_key and keys.is_key(parameter) else Parameter(parameter, document)
        for parameter in found.values()
    ]


def _refuse_unknown(path: str, method: str, function: Callable[..., Any], security: object) -> None:
    if security:
        raise Unsupported("security")
    if method not in {"get", "post", "put", "patch", "delete"}:
        raise Unsupported(f"the method {method}")
    innermost = inspect.unwrap(function)
    if inspect.iscoroutinefunction(innermost) or inspect.isgeneratorfunction(innermost):
        raise Unsupported("an async or generator handler")
    if any("{" in segment and not is_parameter(segment) for segment in path.split("/")):
        raise Unsupported("a path segment that is only partly a parameter")
