"""Compiles an OpenAPI 3.0 schema object to a validator that reports each fault with its JSON pointer and a reason.

A reason names the rule that was broken, never the value. For a `pattern`, the contract can give the reason in the
extension `x-pattern-message` beside it.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal
from uuid import UUID
from weakref import WeakValueDictionary

import jsonschema_rs

from contractapp.compile.document import ContractError, Unsupported, resolve
from contractapp.problems import MAX_ERRORS, Fault, shorten

Direction = Literal["request", "response"]
Schema = Mapping[str, Any]
Path = tuple[str | int, ...]

MAX_POINTER_LENGTH = 256

_PATTERN_MESSAGE = "x-pattern-message"

_INTEGER_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_NEVER: dict[str, Any] = {"not": {}}


class Validator:
    """A schema compiled for one direction; `json_schema` is its translation to JSON Schema draft 4."""

    def __init__(self, schema: Schema, document: Schema, direction: Direction) -> None:
        self._document = document
        translation = _Translation(document, direction)
        root = translation.schema(schema, ())
        self.json_schema: Schema = root | {"components": {"schemas": translation.components(root)}}
        self._messages = translation.messages
        self._validator = jsonschema_rs.Draft4Validator(
            dict(self.json_schema),
            formats={"uuid": _is_uuid},
            validate_formats=True,
        )
        self.is_valid: Callable[[Any], bool] = self._validator.is_valid

    def faults(self, value: Any, location: str, pointer: str = "") -> list[Fault]:
        """The faults of the value, at most `MAX_ERRORS`, in the order of their pointers."""
        try:
            errors = list(islice(self._validator.iter_errors(value), MAX_ERRORS))
        except ValueError:  # jsonschema-rs raises it at 255 levels of nesting
            return [Fault(location, pointer, "is nested too deeply")]
        # One flaw may break several rules at its place (an empty text also fails its pattern): report the first rule.
        found: dict[str, tuple[int, str]] = {}
        for error in errors:
            kind = error.kind
            name = kind.name
            rank = _RANKS.get(name, len(_RANKS))
            message = self._messages.get(tuple(error.schema_path)) if name == "pattern" else None
            for place, reason in _reasons(name, kind.value, error.instance_path, message):
                known = found.get(place)
                if known is None or rank < known[0]:
                    found[place] = rank, reason
        return [Fault(location, pointer + place, found[place][1]) for place in sorted(found)[:MAX_ERRORS]]


def validator(schema: Schema, document: Schema, direction: Direction) -> Validator:
    """The validator of a schema. Equal schemas of a document have one: many answers have the same problem."""
    key = id(document), direction, json.dumps(schema, default=str)
    found = _compiled.get(key)
    if found is None:
        found = _compiled[key] = Validator(schema, document, direction)
    return found


# An entry is dropped with the last operation that uses it; until then the validator keeps its document, and so its id.
_compiled: WeakValueDictionary[tuple[int, str, str], Validator] = WeakValueDictionary()


class _Translation:
    """OpenAPI 3.0 schemas as JSON Schema draft 4: translates `nullable`, `readOnly`, `writeOnly`, integer formats."""

    def __init__(self, document: Schema, direction: Direction) -> None:
        self._document = document
        self._schemas: Schema = document.get("components", {}).get("schemas", {})
        self._hidden = "readOnly" if direction == "request" else "writeOnly"
        self.messages: dict[Path, str] = {}  # by the path of the `pattern` in the translated schema

    def components(self, root: Schema) -> dict[str, Any]:
        """The translated component schemas that the root refers to, directly or indirectly."""
        found: dict[str, Any] = {}
        waiting = list(_references(root))
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = self.schema(self._schemas[name], ("components", "schemas", name))
                waiting.extend(_references(found[name]))
        return found

    def schema(self, schema: Schema, path: Path) -> dict[str, Any]:
        """The translation of a schema that has this path in the translated root."""
        if "$ref" in schema:
            prefix, _, name = schema["$ref"].rpartition("/")
            if prefix != "#/components/schemas" or name not in self._schemas:
                raise Unsupported(f"a reference that is not to one of its schemas ({schema['$ref']})")
            return {"$ref": schema["$ref"]}
        result: dict[str, Any] = {
            key: schema[key]
            for key in (
                *("type", "enum", "format", "multipleOf", "maximum", "minimum", "exclusiveMaximum"),
                *("exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems", "minItems"),
                *("uniqueItems", "maxProperties", "minProperties"),
            )
            if key in schema
        }
        for key in ("allOf", "anyOf", "oneOf"):
            if key in schema:
                result[key] = [self.schema(member, (*path, key, index)) for index, member in enumerate(schema[key])]
        for key in ("not", "items", "additionalProperties"):
            if key in schema:
                member = schema[key]
                result[key] = member if isinstance(member, bool) else self.schema(member, (*path, key))
        self._properties(schema, result, path)
        if _PATTERN_MESSAGE in schema:
            self.messages[*path, "pattern"] = _message(schema)
        _integer_format(result)
        if schema.get("nullable") and "type" in schema:
            result["type"] = [schema["type"], "null"]
        return result

    def _properties(self, schema: Schema, result: dict[str, Any], path: Path) -> None:
        properties: Schema = schema.get("properties", {})
        hidden = {name for name, member in properties.items() if resolve(self._document, member).get(self._hidden)}
        # Without `properties`, jsonschema-rs would not report which members are unknown.
        if properties or result.get("additionalProperties") is False:
            result["properties"] = {
                name: _NEVER if name in hidden else self.schema(member, (*path, "properties", name))
                for name, member in properties.items()
            }
        required = [name for name in schema.get("required", ()) if name not in hidden]
        if required:
            result["required"] = required


def pointer_to(*segments: str | int) -> str:
    """The JSON pointer of these segments (RFC 6901), each shortened, at most `MAX_POINTER_LENGTH` characters long."""
    pointer = ""
    for segment in segments:
        pointer += "/" + shorten(str(segment)).replace("~", "~0").replace("/", "~1")
        if len(pointer) > MAX_POINTER_LENGTH:
            return pointer[:MAX_POINTER_LENGTH] + "…"
    return pointer


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield reference.rpartition("/")[2]
        for member in schema.values():
            yield from _references(member)
    elif isinstance(schema, list):
        for member in schema:
            yield from _references(member)


def _message(schema: Schema) -> str:
    message = schema[_PATTERN_MESSAGE]
    if not isinstance(message, str) or not message.strip():
        raise ContractError([f"The {_PATTERN_MESSAGE} beside the pattern {schema.get('pattern')!r} is not a text."])
    if "pattern" not in schema:
        raise ContractError([f"The {_PATTERN_MESSAGE} {message!r} has no pattern beside it."])
    return message


def _integer_format(schema: dict[str, Any]) -> None:
    if schema.get("type") != "integer" or schema.get("format") not in _INTEGER_RANGES:
        return
    low, high = _INTEGER_RANGES[schema.pop("format")]
    if schema.get("minimum", low) <= low:
        schema.pop("exclusiveMinimum", None)
        schema["minimum"] = low
    if schema.get("maximum", high) >= high:
        schema.pop("exclusiveMaximum", None)
        schema["maximum"] = high


def _is_uuid(value: str) -> bool:
    try:
        return str(UUID(value)) == value.lower()
    except ValueError:
        return False


def _reasons(name: str, limit: Any, path: list[str | int], message: str | None) -> Iterable[tuple[str, str]]:
    """The pointer and the reason of each fault that one error of jsonschema-rs describes.

    `message` is the reason that the contract gives, if it gives one.
    """
    if name == "additionalProperties" and limit:
        return [(pointer_to(*path, member), "is not a known member") for member in limit[:MAX_ERRORS]]
    if name == "required":
        return [(pointer_to(*path, limit), "is required")]
    reason = _REASONS.get(name)
    return [(pointer_to(*path), message or (reason(limit) if reason else "does not match the contract"))]


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_RANKS = {name: rank for rank, name in enumerate(("type", "enum", "minLength", "maxLength", "format", "pattern"))}

_FORMATS = {
    "email": "must be an e-mail address",
    "date-time": "must be a date and time (RFC 3339)",
    "date": "must be a date (RFC 3339)",
    "uuid": "must be a UUID",
}

_TYPE_NAMES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


_REASONS: dict[str, Callable[[Any], str]] = {
    "type": lambda types: "must be " + " or ".join(_TYPE_NAMES[name] for name in sorted(types, key=_null_last)),
    "format": lambda name: _FORMATS.get(name, f"is not a valid {name}"),
    "pattern": lambda _: "has characters or a form that the contract does not allow here",
    "enum": lambda options: "must be one of: " + ", ".join(map(str, options)),
    "minLength": lambda limit: f"must have at least {_plural(limit, 'character')}",
    "maxLength": lambda limit: f"must have at most {_plural(limit, 'character')}",
    "minimum": lambda limit: f"must be at least {limit}",
    "maximum": lambda limit: f"must be at most {limit}",
    "exclusiveMinimum": lambda limit: f"must be more than {limit}",
    "exclusiveMaximum": lambda limit: f"must be less than {limit}",
    "multipleOf": lambda limit: f"must be a multiple of {limit}",
    "minItems": lambda limit: f"must have at least {_plural(limit, 'item')}",
    "maxItems": lambda limit: f"must have at most {_plural(limit, 'item')}",
    "uniqueItems": lambda _: "must not have equal items",
    "minProperties": lambda limit: f"must have at least {_plural(limit, 'member')}",
    "maxProperties": lambda limit: f"must have at most {_plural(limit, 'member')}",
    "not": lambda _: "is not allowed here",
    "anyOf": lambda _: "matches none of the allowed forms",
    "oneOf": lambda _: "must match exactly one of the allowed forms",
}


def _null_last(name: str) -> tuple[bool, str]:
    return name == "null", name
