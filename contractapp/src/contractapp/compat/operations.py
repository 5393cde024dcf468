"""Compares two contracts operation by operation: the requests that clients may send, and the responses."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from contractapp.compat.schemas import Document, differences, shown
from contractapp.compile.document import Unsupported, require_openapi_30, resolve
from contractapp.compile.schema import Direction

METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")

# The phrase for a changed schema, by its direction and by whether the change is compatible.
_PHRASES = {
    ("request", "yes"): "takes more than before",
    ("request", "no"): "takes less than before",
    ("response", "yes"): "is narrower than before",
    ("response", "no"): "is wider than before",
    ("request", "unknown"): "has changed in a way that cannot be shown to be compatible",
    ("response", "unknown"): "has changed in a way that cannot be shown to be compatible",
}


class Change(NamedTuple):
    """One difference between two contracts.

    Attributes:
        breaking: Whether a client of the old contract may fail on the new one.
        sentence: The change in words, such as `GET /notes takes the new optional query parameter limit.`
    """

    breaking: bool
    sentence: str

    def __str__(self) -> str:
        return f"{'BREAKING' if self.breaking else 'harmless'}: {self.sentence}"


def compare(old: Document, new: Document) -> list[Change]:
    """Every change from the old contract to the new one, breaking ones first, then in alphabetical order.

    Args:
        old: An OpenAPI 3.0 document, as returned by `json.load` or `yaml.safe_load`.
        new: The other document.

    Raises:
        ContractError: One of them is not OpenAPI 3.0, or has a reference that points to nothing.
    """
    for document, name in ((old, "The old contract"), (new, "The new contract")):
        require_openapi_30(document, name)
    before, after = _operations(old), _operations(new)
    changes = [*_servers(old, new), *_schemes(old, new)]
    changes += [Change(True, f"{name} is gone.") for name in before if name not in after]
    changes += [Change(False, f"{name} is new.") for name in after if name not in before]
    for name in before:
        if name in after:
            changes += _Operation(name, old, before[name], new, after[name]).changes()
    return sorted(set(changes), key=lambda change: (not change.breaking, change.sentence))


def major(document: Document) -> int:
    """The first number of `info.version`."""
    return int(str(document["info"]["version"]).partition(".")[0])


def _servers(old: Document, new: Document) -> Iterator[Change]:
    before, after = ([server["url"] for server in document.get("servers", ())] for document in (old, new))
    yield from (Change(True, f"The server {url} is gone.") for url in before if url not in after)
    yield from (Change(False, f"The server {url} is new.") for url in after if url not in before)


def _schemes(old: Document, new: Document) -> Iterator[Change]:
    """Changes of the security schemes. Changes of an operation's requirements belong to the operation."""
    before, after = (document.get("components", {}).get("securitySchemes", {}) for document in (old, new))
    for name in before.keys() & after.keys():
        one, other = (
            {**_resolved(root, side[name]), "description": ""} for root, side in ((old, before), (new, after))
        )
        if one != other:
            yield Change(True, f"The security scheme {name} has changed.")


class _Operation:
    """The changes of one operation that both contracts have."""

    def __init__(self, name: str, old: Document, before: Document, new: Document, after: Document) -> None:
        self.name = name
        self.old, self.before = old, before
        self.new, self.after = new, after

    def changes(self) -> Iterator[Change]:
        if self.before.get("operationId") != self.after.get("operationId"):
            yield Change(True, f"{self.name} has another operationId, which is its name in generated clients.")
        yield from self._security()
        yield from self._parameters()
        yield from self._body()
        yield from self._responses()

    def _security(self) -> Iterator[Change]:
        """Each list has alternatives: a client that met one of the old must meet one of the new."""
        before = self.before.get("security", self.old.get("security", []))
        after = self.after.get("security", self.new.get("security", []))
        if before != after:
            met = all(any(_is_met_by(other, one) for other in after or [{}]) for one in before or [{}])
            yield Change(not met, f"{self.name} asks for {shown(after)} of its callers, before for {shown(before)}.")

    def _parameters(self) -> Iterator[Change]:
        before, after = _parameters(self.old, self.before), _parameters(self.new, self.after)
        for key in before.keys() - after.keys():
            yield Change(True, f"{self.name} no longer takes {_called(key)}.")
        for key in after.keys() - before.keys():
            required = after[key].get("required", False)
            yield Change(
                required, f"{self.name} takes the new {'required' if required else 'optional'} {_called(key)}."
            )
        for key in before.keys() & after.keys():
            yield from self._parameter(_called(key), before[key], after[key])

    def _parameter(self, called: str, before: Document, after: Document) -> Iterator[Change]:
        if before.get("required", False) != after.get("required", False):
            now = after.get("required", False)
            yield Change(now, f"{self.name}: {called} is now {'required' if now else 'optional'}.")
        if _serialisation(before) != _serialisation(after):
            yield Change(True, f"{self.name}: {called} is written in another style.")
        was, now = _resolved(self.old, before.get("schema", {})), _resolved(self.new, after.get("schema", {}))
        if was.get("default") != now.get("default"):
            yield Change(
                True, f"{self.name}: the default of {called} was {was.get('default')} and is {now.get('default')}."
            )
        yield from self._schema(called, before.get("schema", {}), after.get("schema", {}), "request")
        yield from self._contents(called, before.get("content", {}), after.get("content", {}), "request")

    def _body(self) -> Iterator[Change]:
        before = _resolved(self.old, self.before.get("requestBody", {}))
        after = _resolved(self.new, self.after.get("requestBody", {}))
        yield from self._reference("the body", before, after)
        if before.get("required", False) != after.get("required", False):
            now = after.get("required", False)
            yield Change(now, f"{self.name}: the body is now {'required' if now else 'optional'}.")
        yield from self._contents("the body", before.get("content", {}), after.get("content", {}), "request")

    def _responses(self) -> Iterator[Change]:
        before, after = _statuses(self.before), _statuses(self.after)
        for status in before.keys() - after.keys() - {key for key in before if f"{key[0]}XX" in after}:
            narrowed = status.endswith("XX") and any(key[0] == status[0] for key in after)
            yield Change(_is_success(status) and not narrowed, f"{self.name} no longer answers {status}.")
        for status, response in after.items():
            known = next((key for key in (status, f"{status[0]}XX", "default") if key in before), None)
            if known is None or (known == "default" and _is_success(status)):
                yield Change(_is_success(status), f"{self.name} answers {status} too.")
            else:
                yield from self._response(status, before[known], response)

    def _response(self, status: str, before: Document, after: Document) -> Iterator[Change]:
        one, other = _resolved(self.old, before), _resolved(self.new, after)
        yield from self._reference(f"the answer {status}", one, other)
        yield from self._contents(f"the answer {status}", one.get("content", {}), other.get("content", {}), "response")
        yield from self._headers(status, one.get("headers", {}), other.get("headers", {}))
        yield from self._links(status, one.get("links", {}), other.get("links", {}))

    def _headers(self, status: str, before: Document, after: Document) -> Iterator[Change]:
        for header in before.keys() - after.keys():
            yield Change(True, f"{self.name}: the answer {status} lost its header {header}.")
        for header in after.keys() - before.keys():
            yield Change(False, f"{self.name}: the answer {status} has the new header {header}.")
        for header in before.keys() & after.keys():
            one, other = _resolved(self.old, before[header]), _resolved(self.new, after[header])
            called = f"the header {header} of the answer {status}"
            yield from self._reference(called, one, other)
            if one.get("required", False) != other.get("required", False):
                now = other.get("required", False)
                yield Change(not now, f"{self.name}: {called} is now {'always there' if now else 'optional'}.")
            yield from self._schema(called, one.get("schema", {}), other.get("schema", {}), "response")

    def _links(self, status: str, before: Document, after: Document) -> Iterator[Change]:
        for link in before.keys() - after.keys():
            yield Change(True, f"{self.name}: the answer {status} lost its link {link}.")
        for link in after.keys() - before.keys():
            yield Change(False, f"{self.name}: the answer {status} has the new link {link}.")
        for link in before.keys() & after.keys():
            one, other = _destination(self.old, before[link]), _destination(self.new, after[link])
            if one != other:
                yield Change(True, f"{self.name}: the link {link} of the answer {status} leads elsewhere.")

    def _reference(self, called: str, before: Document, after: Document) -> Iterator[Change]:
        """Files that a reference points to are not read, so that a changed reference counts as breaking."""
        if before.get("$ref") != after.get("$ref"):
            yield Change(True, f"{self.name}: {called} is now described elsewhere, which cannot be compared.")

    def _contents(self, called: str, before: Document, after: Document, direction: Direction) -> Iterator[Change]:
        for media_type in before.keys() - after.keys():
            yield Change(True, f"{self.name}: {called} is no longer {media_type}.")
        for media_type in after.keys() - before.keys():
            yield Change(direction == "response", f"{self.name}: {called} may be {media_type}.")
        for media_type in before.keys() & after.keys():
            schemas = before[media_type].get("schema", {}), after[media_type].get("schema", {})
            yield from self._schema(called, *schemas, direction)

    def _schema(self, called: str, before: Document, after: Document, direction: Direction) -> Iterator[Change]:
        for difference in differences(self.old, before, self.new, after, direction):
            where = called + (f" at {difference.place}" if difference.place else "")
            verdict = difference.is_wider if direction == "request" else difference.is_narrower
            yield Change(verdict != "yes", f"{self.name}: {where} {_PHRASES[direction, verdict]}: {difference.words}.")


def _operations(document: Document) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for path, written in document["paths"].items():
        if path.startswith("x-"):
            continue
        item = _resolved(document, written)
        if "$ref" in item:
            found[f"{path}, as {item['$ref']} has it,"] = {"parameters": []}
        for method in METHODS:
            if method in item:
                parameters = [*item.get("parameters", ()), *item[method].get("parameters", ())]
                found[f"{method.upper()} {path}"] = {**item[method], "parameters": parameters}
    return found


def _parameters(document: Document, operation: Document) -> dict[tuple[str, str], Document]:
    found = {}
    for item in operation["parameters"]:
        parameter = _resolved(document, item)
        found[parameter.get("in", "some"), parameter.get("name", item.get("$ref"))] = parameter
    return found


def _statuses(operation: Document) -> dict[str, Document]:
    responses = {str(status): response for status, response in operation.get("responses", {}).items()}
    return {
        status if status == "default" else status.upper(): response
        for status, response in responses.items()
        if not status.startswith("x-")
    }


def _resolved(document: Document, node: Any) -> Document:
    """The node, or the node to which its reference points; a reference into another file stays as it is."""
    try:
        target: Document = resolve(document, node)
    except Unsupported:
        return dict(node)
    return target


def _is_success(status: str) -> bool:
    """Whether clients rely on the status. Only a client that sent If-None-Match or the like gets a 304."""
    return status < "400" and status != "304"


def _is_met_by(requirement: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether every client that meets the other security requirement meets this one too."""
    return all(name in other and set(scopes) <= set(other[name]) for name, scopes in requirement.items())


def _serialisation(parameter: Document) -> tuple[str, bool, list[str]]:
    """How a parameter is serialised (OpenAPI 3.0.3, section 4.7.12.2): style, explode, and media types of `content`."""
    style = parameter.get("style", "form" if parameter.get("in") in {"query", "cookie"} else "simple")
    return style, parameter.get("explode", style == "form"), list(parameter.get("content", {}))


def _destination(document: Document, link: Document) -> str:
    found = _resolved(document, link)
    named = [found.get(name) for name in ("operationId", "operationRef", "$ref")]
    return json.dumps([*named, found.get("parameters", {})], default=str)


def _called(key: tuple[str, str]) -> str:
    return f"{key[0]} parameter {key[1]}"
