"""Every change of a contract that `tools/mutants.py` makes, one at a time."""

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Document = dict[str, Any]
Place = tuple[str | int, ...]

METHODS = ("get", "put", "post", "delete")
LIMITS = ("minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "minProperties", "maxProperties")
OTHER_TYPE = {
    "string": "integer",
    "integer": "string",
    "number": "string",
    "boolean": "string",
    "array": "object",
    "object": "array",
}
# The format of a number becomes the other width, `date` becomes `email`, and any other format becomes `date`.
OTHER_FORMAT = {"int32": "int64", "int64": "int32", "float": "double", "double": "float", "date": "email"}
OTHER_PLACE = {"query": "header", "header": "query"}


class Mutant(NamedTuple):
    """One change of the contract: its place, its description, and the function that makes it."""

    place: Place
    what: str
    change: Callable[[Any], object]

    @property
    def name(self) -> str:
        return f"{'/'.join(map(str, self.place))}: {self.what}"

    def applied(self, document: Document) -> Document:
        """A copy of the document with the change."""
        changed = copy.deepcopy(document)
        node: Any = changed
        for key in self.place:
            node = node[key]
        self.change(node)
        return changed


def mutants(document: Document) -> Iterator[Mutant]:
    """All changes of a contract, always in the same order."""
    for number, _ in enumerate(document.get("servers", ())):
        yield Mutant(("servers", number), "another url", _set(url="/v2"))
    yield Mutant((), "security asked for", _set(security=[{"token": []}]))
    for path, item in document["paths"].items():
        place: Place = ("paths", path)
        yield Mutant(("paths",), f"{path} renamed", _rename(path, f"{path}s"))
        yield from _parameters(place, item)
        for method in METHODS:
            if method in item:
                yield Mutant(place, f"{method} dropped", _drop(method))
                yield from _operation((*place, method), item[method])
    components = document.get("components", {})
    for kind, changes in (
        ("schemas", _schema),
        ("parameters", _parameter),
        ("headers", _header),
        ("responses", _response),
    ):
        for name, component in components.get(kind, {}).items():
            yield from changes(("components", kind, name), component)
    yield from _links(document)


def operations_at(document: Document, place: Place) -> list[str]:
    """The operationIds of the operations that contain a place of the document, directly or by reference."""
    shared = place[:1] == ("components",)
    found = []
    for path, item in document["paths"].items():
        for method in METHODS:
            if method not in item:
                continue
            if shared:
                touched = place[:3] in set(_references(document, [item.get("parameters", []), item[method]]))
            else:
                touched = place[:2] == ("paths", path) and (place[2:3] in {(method,), ("parameters",), ()})
            if touched:
                found.append(item[method]["operationId"])
    return found


def _references(document: Document, node: Any) -> Iterator[Place]:
    """The components that a node refers to, directly or indirectly."""
    members = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for member in members:
        if isinstance(member, str) and member.startswith("#/components/"):
            _, *place = member.split("/")
            yield tuple(place)
            yield from _references(document, document["components"][place[1]][place[2]])
        else:
            yield from _references(document, member)


def _operation(place: Place, operation: Document) -> Iterator[Mutant]:
    yield Mutant(place, "operationId renamed", _set(operationId=operation["operationId"] + "_"))
    yield Mutant(place, "another tag", _set(tags=["other"]))
    yield Mutant(place, "security asked for", _set(security=[{"token": []}]))
    yield from _parameters(place, operation)
    if "requestBody" in operation:
        body = (*place, "requestBody")
        yield Mutant(place, "body dropped", _drop("requestBody"))
        yield Mutant(body, "optional", _set(required=False))
        yield from _content(body, operation["requestBody"])
    for status, response in operation["responses"].items():
        yield Mutant((*place, "responses"), f"{status} dropped", _drop(status))
        yield Mutant((*place, "responses"), f"{status} renamed", _rename(status, "299" if status < "300" else "499"))
        yield from _response((*place, "responses", status), response)


def _parameters(place: Place, node: Document) -> Iterator[Mutant]:
    for number, parameter in enumerate(node.get("parameters", ())):
        yield Mutant((*place, "parameters"), f"{number} dropped", _drop(number))
        yield from _parameter((*place, "parameters", number), parameter)


def _parameter(place: Place, parameter: Document) -> Iterator[Mutant]:
    if "$ref" in parameter:
        return
    yield Mutant(place, "renamed", _set(name=parameter["name"] + "_"))
    if parameter["in"] in OTHER_PLACE:
        yield Mutant(place, "moved", _set(**{"in": OTHER_PLACE[parameter["in"]]}))
        yield Mutant(place, "required turned", _set(required=not parameter.get("required", False)))
    yield from _schema((*place, "schema"), parameter["schema"])


def _response(place: Place, response: Document) -> Iterator[Mutant]:
    yield from _content(place, response)
    for name, header in response.get("headers", {}).items():
        yield Mutant((*place, "headers"), f"{name} dropped", _drop(name))
        yield from _header((*place, "headers", name), header)
    for name in response.get("links", {}):
        yield Mutant((*place, "links"), f"{name} dropped", _drop(name))


def _content(place: Place, node: Document) -> Iterator[Mutant]:
    for media_type, content in node.get("content", {}).items():
        yield Mutant((*place, "content"), f"{media_type} renamed", _rename(media_type, "text/json"))
        yield Mutant((*place, "content"), f"{media_type} dropped", _drop(media_type))
        yield from _schema((*place, "content", media_type, "schema"), content["schema"])


def _header(place: Place, header: Document) -> Iterator[Mutant]:
    if "$ref" not in header:
        yield Mutant(place, "required turned", _set(required=not header.get("required", False)))
        yield from _schema((*place, "schema"), header["schema"])


def _links(document: Document) -> Iterator[Mutant]:
    """The changes of each link; its operation becomes the first other operation of the contract."""
    operations = [
        item[method]["operationId"] for item in document["paths"].values() for method in METHODS if method in item
    ]
    for place, link in _links_in(document, ()):
        other = next((name for name in operations if name != link["operationId"]), "nothing")
        yield Mutant(place, "leads elsewhere", _set(operationId=other))
        for name in link.get("parameters", {}):
            yield Mutant((*place, "parameters"), f"{name} dropped", _drop(name))
            yield Mutant((*place, "parameters"), f"{name} from elsewhere", _set(**{name: "$response.body#/nothing"}))


def _links_in(node: Any, place: Place) -> Iterator[tuple[Place, Document]]:
    """Every link in the document, with its place."""
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, member in members:
        if key == "links":
            yield from (((*place, key, name), link) for name, link in member.items() if "operationId" in link)
        else:
            yield from _links_in(member, (*place, key))


def _schema(place: Place, schema: Document) -> Iterator[Mutant]:
    if "$ref" in schema:
        return
    yield from (Mutant(place, what, change) for what, change in _keywords(schema))
    for name in schema.get("required", ()):
        yield Mutant((*place, "required"), f"{name} optional", lambda names, name=name: names.remove(name))
    for name, member in schema.get("properties", {}).items():
        yield Mutant((*place, "properties"), f"{name} dropped", _drop(name))
        yield from _schema((*place, "properties", name), member)
    if "items" in schema:
        yield from _schema((*place, "items"), schema["items"])


def _keywords(schema: Document) -> Iterator[tuple[str, Callable[[Any], object]]]:
    """The changes of a schema itself, without those of its members."""
    other = OTHER_TYPE[schema["type"]]
    yield f"type {other}", _set(type=other)
    yield "nullable", _set(nullable=True)
    for limit in LIMITS:
        if limit in schema:
            yield f"{limit} lowered", _set(**{limit: schema[limit] - 1})
            yield f"{limit} raised", _set(**{limit: schema[limit] + 1})
            yield f"{limit} dropped", _drop(limit)
    for keyword in ("pattern", "format", "not", "default", "additionalProperties", "enum"):
        if keyword in schema:
            yield f"{keyword} dropped", _drop(keyword)
    if "pattern" in schema:
        yield "another pattern", _set(pattern="^nothing but this$")
    if "format" in schema:
        yield "another format", _set(format=OTHER_FORMAT.get(schema["format"], "date"))
    if "default" in schema:
        yield "another default", _set(default=_other_default(schema))
    for value in schema.get("enum", ()):
        yield f"{value} no longer allowed", _set(enum=[other for other in schema["enum"] if other != value])
    if "enum" in schema:
        yield "a value added", _set(enum=[*schema["enum"], "added"])
    for name in schema.get("properties", {}):
        if name not in schema.get("required", ()):
            yield f"{name} required", _set(required=[*schema.get("required", ()), name])


def _other_default(schema: Document) -> Any:
    """Another value of the same type; for an `enum`, another of its values."""
    default = schema["default"]
    others = [value for value in schema.get("enum", ()) if value != default]
    if others:
        return others[0]
    if isinstance(default, bool):
        return not default
    return default - 1 if isinstance(default, int | float) else [] if isinstance(default, list) else f"{default}x"


def _drop(key: str | int) -> Callable[[Any], object]:
    return lambda node: node.pop(key)


def _set(**values: object) -> Callable[[Any], object]:
    return lambda node: node.update(values)


def _rename(old: str, new: str) -> Callable[[Any], object]:
    # Keeps the order of the keys, which is not part of this change.
    def rename(node: dict[str, Any]) -> None:
        items = [(new if key == old else key, value) for key, value in node.items()]
        node.clear()
        node.update(items)

    return rename
