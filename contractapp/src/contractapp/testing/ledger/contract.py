"""Reads an OpenAPI 3.0 document for the ledger: its operations, their documented responses, and its path templates.

References are followed within the document and into other files; nothing is read from the network.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import url2pathname

from contractapp.compile.document import ContractError, read_document

METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")

_PARAMETER = re.compile(r"\{([^{}]+)\}")
_ABSENT = object()


class Operation(NamedTuple):
    """One method of one path. `name` is its operationId, or method and path (`GET /things`) if it has none."""

    name: str
    method: str
    template: str
    responses: Mapping[str, Any]

    def documented(self, status: int) -> tuple[str, Mapping[str, Any]] | None:
        """The key and the response documented for a status; the key is the status, a range (`2XX`) or `default`."""
        responses = {key.upper(): (key, response) for key, response in self.responses.items()}
        keys = (str(status), f"{status // 100}XX", "DEFAULT")
        return next((responses[key] for key in keys if key in responses), None)


class Contract:
    """The document with resolved references. `problem` is a reference to the schema of an error body.

    Raises `ContractError` if the reference of a path, a response or `problem` cannot be resolved.
    """

    def __init__(self, document: Mapping[str, Any], problem: str | None = None, *, uri: str = "file:///") -> None:
        self.document = document
        self._documents: dict[str, Any] = {uri: document}
        self._uri = uri
        self._followed: dict[str, Any] = {}
        self._open: set[str] = set()
        self.problem = self._required({"$ref": problem}, "ledger_problem") if problem else None
        self.paths: dict[str, Any] = {
            path: self._required(item, path)
            for path, item in (document.get("paths") or {}).items()
            if not path.startswith("x-")
        }
        self.operations = {operation.name: operation for operation in self._operations()}
        self.documents_405 = any("405" in operation.responses for operation in self.operations.values())
        self._patterns = [(re.compile(self._pattern(path)), path) for path in sorted(self.paths, key=_generality)]

    def resolve(self, value: Any) -> Any:
        """The value with each `$ref` in it replaced by its target.

        A recursive reference, and one whose target does not exist, becomes an absolute reference.
        """
        return self._resolve(value, self._uri)

    def followed(self, target: str) -> Any:
        """The resolved target of an absolute reference that `resolve` left; None if it does not exist."""
        found = self._followed[target]
        return None if found is _ABSENT else found

    def at(self, template: str) -> list[Operation]:
        """The operations of a path."""
        return [operation for operation in self.operations.values() if operation.template == template]

    def target(self, link: Mapping[str, Any]) -> str | None:
        """The name of the operation that a link leads to; None if it is in another document."""
        if "operationId" in link:
            return str(link["operationId"])
        place = str(link.get("operationRef", "")).removeprefix("#/paths/").split("/")
        template, method = (unquote(place[0]).replace("~1", "/").replace("~0", "~"), place[-1])
        return next((one.name for one in self.at(template) if one.method == method), None)

    def find(self, path: str) -> tuple[str, dict[str, str]] | None:
        """The template that matches a path, and the values of its parameters. More literal text takes precedence."""
        for pattern, template in self._patterns:
            match = pattern.fullmatch(path)
            if match:
                return template, dict(zip(_PARAMETER.findall(template), match.groups(), strict=True))
        return None

    def allow(self, template: str) -> list[str]:
        """The methods that a path accepts: those of its operations, HEAD if there is GET, and OPTIONS."""
        methods = {method.upper() for method in METHODS if method in self.paths[template]}
        return sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set()))

    def documented(self) -> Iterator[tuple[str, str, str, str]]:
        """Every documented (operation, status, kind, name). The kind is status, media type, header or link.

        The status is written as in the contract. Links into other documents are left out.
        """
        for operation in self.operations.values():
            for key, response in operation.responses.items():
                entry = operation.name, key
                yield *entry, "status", ""
                yield from ((*entry, "media type", name) for name in response.get("content", {}))
                yield from ((*entry, "header", name) for name in response.get("headers", {}))
                for name, link in response.get("links", {}).items():
                    if self.target(link) is not None:
                        yield *entry, "link", name

    def _operations(self) -> Iterator[Operation]:
        for path, item in self.paths.items():
            for method in METHODS:
                if method not in item:
                    continue
                called = f"{method.upper()} {path}"
                responses = {
                    str(status): self._required(response, f"{called} {status}")
                    for status, response in item[method].get("responses", {}).items()
                    if not str(status).startswith("x-")
                }
                name = item[method].get("operationId", called)
                yield Operation(name, method, path, responses)

    def _pattern(self, template: str) -> str:
        """The template as a regular expression. A parameter of Connexion's format `path` matches slashes."""
        item = self.paths[template]
        parameters = [*item.get("parameters", ()), *(p for m in METHODS for p in item.get(m, {}).get("parameters", ()))]
        wide = {p.get("name") for p in parameters if p.get("schema", {}).get("format") == "path"}
        parts = _PARAMETER.split(template)  # alternately literal text and the name of a parameter
        return "".join(
            re.escape(part) if number % 2 == 0 else "(.+)" if part in wide else "([^/]+)"
            for number, part in enumerate(parts)
        )

    def _required(self, value: Any, where: str) -> Any:
        resolved = self.resolve(value)
        if not isinstance(resolved, Mapping) or "$ref" in resolved:
            raise ContractError([f"{where}: the reference {value['$ref']} leads nowhere that the ledger can read."])
        return resolved

    def _resolve(self, value: Any, uri: str) -> Any:
        if isinstance(value, list):
            return [self._resolve(member, uri) for member in value]
        if not isinstance(value, Mapping):
            return value
        reference = value.get("$ref")
        if not isinstance(reference, str):
            return {key: self._resolve(member, uri) for key, member in value.items()}
        target = urljoin(uri, reference)
        if target not in self._followed and target not in self._open:
            self._open.add(target)
            self._followed[target] = self._resolve(self._lookup(target), urldefrag(target).url)
            self._open.remove(target)
        found = self._followed.get(target, _ABSENT)
        return {"$ref": target} if found is _ABSENT else found

    def _lookup(self, target: str) -> Any:
        uri, fragment = urldefrag(target)
        node = self._document(uri)
        for segment in filter(None, fragment.split("/")):
            key = unquote(segment).replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            elif isinstance(node, Mapping) and key in node:
                node = node[key]
            else:
                return _ABSENT
        return node

    def _document(self, uri: str) -> Any:
        if uri not in self._documents:
            parts = urlsplit(uri)
            path = Path(url2pathname(parts.path))
            self._documents[uri] = read_document(path) if parts.scheme == "file" and path.is_file() else _ABSENT
        return self._documents[uri]


def _generality(template: str) -> list[int]:
    """A sort key that puts templates with more literal text first, segment by segment."""
    return [-len(_PARAMETER.sub("", segment)) for segment in template.split("/")]
