"""Compares the responses of a run with the contract: what breaks it, and what was documented but not seen."""

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from contractapp.testing.ledger.contract import Contract, Operation
from contractapp.testing.ledger.expressions import Response, arguments, as_text, evaluated
from contractapp.testing.ledger.schemas import Schemas

# Headers of the connection and the message (RFC 9110, section 7.6.1), and those that `content` documents.
_MESSAGE = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"} | {"date", "server"}
_CONTENT = {"content-type", "content-length"}
# CORS headers, which depend on the configuration.
_CROSS_ORIGIN = ("access-control-", "vary")
# Headers that are repeated, once for each value (RFC 6265, section 3; RFC 9110, section 11.6.1).
_REPEATED = {"set-cookie", "www-authenticate"}

Entry = tuple[str, str, str, str]


class Ledger:
    """Records responses: what was seen, what breaks the contract, and what is still missing."""

    def __init__(
        self, contract: Contract, *, ignored_paths: Iterable[str] = (), ignored_headers: Iterable[str] = ()
    ) -> None:
        self.contract = contract
        self.seen: Counter[Entry] = Counter()
        self.breaches: dict[str, str] = {}
        self.responses = 0
        self._ignored_paths = tuple(ignored_paths)
        self._ignored_headers = {name.lower() for name in ignored_headers} | _MESSAGE | _CONTENT
        self._schemas = Schemas(contract)
        self._lock = threading.Lock()
        self._checked: set[tuple[object, ...]] = set()
        self._test = ""
        self._offered: dict[str, set[tuple[str, str, str, tuple[tuple[str, str], ...]]]] = defaultdict(set)

    def record(self, response: Response, test: str = "") -> None:
        """Record one response."""
        with self._lock:
            self.responses += 1
            if test != self._test:  # in another test, the same ids may belong to other data
                self._test = test
                self._offered.clear()
            for breach in self._judge(response):
                self.breaches.setdefault(breach, test)

    def taken(self) -> dict[str, Any]:
        """The records as lists and dictionaries, for `add` in another process."""
        seen = [[*entry, count] for entry, count in self.seen.items()]
        return {"responses": self.responses, "seen": seen, "breaches": self.breaches}

    def add(self, taken: Mapping[str, Any]) -> None:
        """Add the records of another process."""
        self.responses += taken["responses"]
        for *entry, count in taken["seen"]:
            self.seen[tuple(entry)] += count
        self.breaches |= taken["breaches"]

    def gaps(self) -> list[str]:
        """One line for each thing that is documented but was not seen."""
        missing = [entry for entry in self.contract.documented() if not self.seen[entry]]
        unseen = {entry[:2] for entry in missing if entry[2] == "status"}
        return [
            f"{name} {status} was never seen" if kind == "status" else f"{name} {status}: {kind} {what} was never seen"
            for name, status, kind, what in missing
            if kind == "status" or (name, status) not in unseen
        ]

    def _judge(self, response: Response) -> Iterator[str]:
        below = response.path.startswith(response.base_path + "/")
        found = self.contract.find(response.path.removeprefix(response.base_path)) if below else None
        if found is None:
            yield from self._outside(response)
            return
        template, values = found
        operations = {operation.method.upper(): operation for operation in self.contract.at(template)}
        where = f"{response.method} {template}"
        if response.method in operations:
            yield from self._operation(response, operations[response.method], where)
            yield from self._links(response, operations[response.method], values)
        elif response.method == "HEAD" and "GET" in operations:
            yield from self._head(response, operations["GET"], where)
        elif response.method == "OPTIONS":
            yield from self._options(response, template, where)
        elif response.status != 405:
            yield f"{where} answered {response.status}, not 405"
        else:
            yield from self._allow(response, template, where)
            yield from self._method_not_allowed(response, operations.values(), where)

    def _outside(self, response: Response) -> Iterator[str]:
        """A path that is not in the contract: of the documentation, ignored, or answered with a 404."""
        if response.path.startswith(self._ignored_paths):
            return
        if (response.status < 400 or response.status == 405) and _is_documentation(response):
            return
        where = f"{response.method} outside the contract's paths"
        if response.status != 404:
            yield f"{where} answered {response.status}, not 404"
        elif self.contract.problem is not None:
            if response.header("content-type") != "application/problem+json":
                yield f"{where} answered {response.header('content-type')}"
            elif response.method != "HEAD":
                yield from self._json(response, self.contract.problem, where)

    def _operation(self, response: Response, operation: Operation, where: str) -> Iterator[str]:
        found = operation.documented(response.status)
        if found is None:
            yield f"{where} answered {response.status}, which {operation.name} does not document"
            return
        key, documented = found
        self.seen[operation.name, key, "status", ""] += 1
        where = f"{where} {response.status}"
        content = documented.get("content", {})
        media_type = _documented_media_type(response.header("content-type"), content)
        if media_type is not None:
            self.seen[operation.name, key, "media type", media_type] += 1
            yield from self._body(response, content[media_type].get("schema", {}), where)
        elif content or response.body or response.header("content-type") is not None:
            yield f"{where}: media type {_bare(response.header('content-type'))} is not documented"
        for header in _present(response, documented):
            self.seen[operation.name, key, "header", header] += 1
        yield from self._headers(response, documented, where)

    def _head(self, response: Response, operation: Operation, where: str) -> Iterator[str]:
        """A HEAD response must have the status and headers of GET, and no body."""
        found = operation.documented(response.status)
        if response.body:
            yield f"{where} answered with a body"
        if found is None:
            yield f"{where} answered {response.status}, which GET does not document"
            return
        where = f"{where} {response.status}"
        content, media_type = found[1].get("content", {}), response.header("content-type")
        if (content or media_type) and _documented_media_type(media_type, content) is None:
            yield f"{where}: media type {_bare(media_type)} is not documented for GET"
        yield from self._headers(response, found[1], where)

    def _options(self, response: Response, template: str, where: str) -> Iterator[str]:
        if response.status != 204 or response.body or response.header("content-type") is not None:
            yield f"{where} answered {response.status}, not 204 without a body"
        if response.header("access-control-allow-methods") is None:  # a preflight has no Allow
            yield from self._allow(response, template, where)

    def _method_not_allowed(self, response: Response, operations: Iterable[Operation], where: str) -> Iterator[str]:
        """A 405 counts for each operation of its path. It is not compared if the contract documents no 405 at all."""
        for operation in operations:
            if self.contract.documents_405 or operation.documented(405):
                yield from self._operation(response, operation, where)

    def _allow(self, response: Response, template: str, where: str) -> Iterator[str]:
        allow = response.header("allow") or ""
        if sorted(allow.split(", ")) != self.contract.allow(template):
            yield f"{where} {response.status}: Allow says {allow!r}"

    def _headers(self, response: Response, documented: Mapping[str, Any], where: str) -> Iterator[str]:
        headers = {name.lower(): header for name, header in documented.get("headers", {}).items()}
        names = [name for name, _ in response.headers]
        for name in sorted({name for name in names if names.count(name) > 1} - _REPEATED):
            yield f"{where}: header {name} is there more than once"
        for name in sorted(set(names) - self._ignored_headers - headers.keys()):
            if not name.startswith(_CROSS_ORIGIN):
                yield f"{where}: header {name} is not documented"
        for name, header in headers.items():
            value = response.header(name)
            if value is not None:
                for fault in self._schemas.faults(header.get("schema", {}), _read(value, header.get("schema", {}))):
                    yield f"{where}: header {name}: {fault}"
            elif header.get("required") and name not in _CONTENT:
                yield f"{where}: header {name} is missing"

    def _body(self, response: Response, schema: Mapping[str, Any], where: str) -> Iterator[str]:
        """Check JSON, and text with a string schema, with the schema. Other bodies are not checked."""
        media_type = _bare(response.header("content-type")) or ""
        if response.header("content-length") not in {None, str(len(response.body))}:
            yield f"{where}: Content-Length is not the length of the body"
        if media_type.partition("/")[2] == "json" or media_type.endswith("+json"):
            yield from self._json(response, schema, where)
        elif media_type.startswith("text/") and schema.get("type") == "string":
            for fault in self._schemas.faults(schema, response.body.decode(errors="replace")):
                yield f"{where}: {fault}"

    def _json(self, response: Response, schema: Mapping[str, Any], where: str) -> Iterator[str]:
        key = (where, id(schema), response.body)
        if key in self._checked:
            return
        self._checked.add(key)
        try:
            value = json.loads(response.body, parse_constant=_refuse)
        except ValueError:
            yield f"{where}: the body is not JSON"
            return
        for fault in self._schemas.faults(schema, value):
            yield f"{where}: {fault}"

    def _links(self, response: Response, operation: Operation, values: Mapping[str, str]) -> Iterator[str]:
        """Remember the links of this response; count earlier links that lead to this operation, if it succeeded."""
        if response.status < 300:
            given = arguments(response, values)
            for source, status, link, parameters in self._offered[operation.name]:
                # The names of headers, which are in lower case here, may be written in any case.
                if all(given.get(name, given.get(name.lower())) == value for name, value in parameters):
                    self.seen[source, status, "link", link] += 1
        key, documented = operation.documented(response.status) or ("", {})
        for link, definition in documented.get("links", {}).items():
            target = self.contract.target(definition)
            if target is None:
                continue
            found: list[tuple[str, str]] = []
            for name, expression in definition.get("parameters", {}).items():
                value = evaluated(expression, response, values)
                if value is None:
                    yield f"{operation.name} {response.status}: link {link}: {as_text(expression)} has no value"
                found.append((name, str(value)))
            self._offered[target].add((operation.name, key, link, tuple(found)))


def _is_documentation(response: Response) -> bool:
    documents = ("/openapi.json", "/openapi.yaml", "/ui")
    return response.path == "/" or response.path.removeprefix(response.base_path).startswith(documents)


def _documented_media_type(value: str | None, content: Mapping[str, Any]) -> str | None:
    """The key of `content` for a Content-Type: equal to it, equal without parameters, or a range of media types."""
    bare = _bare(value)
    if value is None or bare is None:
        return None
    keys = {key.replace(" ", "").lower(): str(key) for key in content}
    wanted = (value.replace(" ", "").lower(), bare, bare.partition("/")[0] + "/*", "*/*")
    return next((keys[name] for name in wanted if name in keys), None)


def _bare(value: str | None) -> str | None:
    return None if value is None else value.partition(";")[0].strip().lower()


def _present(response: Response, documented: Mapping[str, Any]) -> Iterator[str]:
    names = {name for name, _ in response.headers}
    return (name for name in documented.get("headers", {}) if name.lower() in names)


def _read(value: str, schema: Mapping[str, Any]) -> Any:
    """The value of a header, decoded by its schema (OpenAPI 3.0.3, section 4.7.12.3, style `simple`)."""
    match schema.get("type"):
        case "array":
            return [_read(item.strip(), schema.get("items", {})) for item in value.split(",")]
        case "integer" if value.removeprefix("-").isdigit() and value.isascii():
            return int(value)
        case "boolean" if value in {"true", "false"}:
            return value == "true"
        case "number":
            try:
                return float(value)
            except ValueError:
                return value
    return value


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and the infinities: Python accepts them, but they are not JSON
