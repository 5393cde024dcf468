"""Path, query and header parameters: converts the text of a request to typed, checked arguments."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from contractapp.compile.document import Unsupported, resolve
from contractapp.compile.schema import pointer_to, validator
from contractapp.problems import MAX_ERRORS, Fault

# Python's int() raises an error for more than 4300 digits; no useful number has more than 400.
MAX_NUMBER_LENGTH = 400

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_STYLES = {"path": "simple", "query": "form", "header": "simple"}
# OpenAPI 3.0.3, section 4.7.12.1: header parameters of these names are ignored.
_RESERVED_HEADERS = {"accept", "content-type", "authorization"}

MISSING = object()


def is_parameter(segment: str) -> bool:
    """Whether a segment of a path template consists of exactly one parameter."""
    return segment.startswith("{") and segment.find("}") == len(segment) - 1


class Parameter:
    """A compiled parameter: decodes its text by type, then checks the value with its schema.

    A header is an argument of the handler only if `argument` has a name for it.
    """

    argument: str | None = None

    def __init__(self, definition: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        self.name: str = definition["name"]
        self.location: str = definition["in"]
        self.required: bool = definition.get("required", False)
        if "schema" not in definition:
            raise Unsupported(f"the parameter {self.name!r} without a schema")
        if definition.get("style", _STYLES.get(self.location)) != _STYLES.get(self.location):
            raise Unsupported(f"the style of the parameter {self.name!r}")
        schema = resolve(document, definition["schema"])
        kind = schema.get("type")
        if self.location not in _STYLES or kind not in _DECODERS or schema.get("nullable"):
            raise Unsupported(f"the {self.location} parameter {self.name!r} of type {kind}")
        if definition.get("allowEmptyValue") or (kind == "string" and schema.get("format") == "path"):
            raise Unsupported(f"the form of the parameter {self.name!r}")
        self.default = schema.get("default", MISSING)
        self.validator = validator(schema, document, "request")
        self._decode, self._expectation = _DECODERS[kind]

    def read(self, text: str, faults: list[Fault]) -> Any:
        """The value; adds what is wrong with it to `faults`."""
        value = self._decode(text)
        if value is MISSING:
            faults.append(self.fault(self._expectation))
        elif not self.validator.is_valid(value):
            faults.extend(self.validator.faults(value, self.location, pointer_to(self.name)))
        return value

    def fault(self, detail: str) -> Fault:
        return Fault(self.location, pointer_to(self.name), detail)


class Query:
    """All query parameters of an operation."""

    def __init__(self, parameters: Sequence[Parameter], *, strict: bool) -> None:
        self.parameters = {parameter.name: parameter for parameter in parameters}
        self._defaults = {p.name: p.default for p in parameters if p.default is not MISSING}
        self._required = [p for p in parameters if p.required]
        self._strict = strict

    def read(self, query_string: bytes, faults: list[Fault]) -> dict[str, Any]:
        """Values by name, defaults included; a repeated, undecodable or (when strict) unknown parameter is a fault."""
        values = self._defaults.copy()
        if not query_string and not self._required:
            return values
        seen: set[str] = set()
        for pair in query_string.split(b"&"):
            if pair:
                self._read_pair(pair, values, seen, faults)
                if len(faults) >= MAX_ERRORS:  # no more are reported, and checking 64 kB of them would take 100 ms
                    break
        faults.extend(p.fault("is required") for p in self._required if p.name not in seen)
        return values

    def _read_pair(self, pair: bytes, values: dict[str, Any], seen: set[str], faults: list[Fault]) -> None:
        raw_name, _, raw_value = pair.partition(b"=")
        name = _decode_text(raw_name)
        if name is None:
            faults.append(Fault("query", "", "has a parameter name that is not UTF-8"))
            return
        parameter = self.parameters.get(name)
        if parameter is None:
            if self._strict:
                faults.append(Fault("query", pointer_to(name), "is not a known parameter"))
            return
        if name in seen:
            faults.append(parameter.fault("is given more than once"))
            return
        seen.add(name)
        text = _decode_text(raw_value)
        if text is None:
            faults.append(parameter.fault("is not UTF-8"))
        else:
            values[name] = parameter.read(text, faults)


class Headers:
    """All header parameters of an operation: checked, but in general not passed to the handler (as in Connexion)."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = {p.name.lower().encode(): p for p in parameters if p.name.lower() not in _RESERVED_HEADERS}

    def read(self, headers: Sequence[tuple[bytes, bytes]], arguments: dict[str, Any], faults: list[Fault]) -> None:
        """Check the values; add those that have an `argument` to the arguments, and what is wrong to `faults`."""
        for name, parameter in self.parameters.items():
            values = [value for key, value in headers if key == name]
            if values:
                value = parameter.read(b", ".join(values).decode("latin-1"), faults)
                if parameter.argument is not None:
                    arguments[parameter.argument] = value
            elif parameter.required:
                faults.append(parameter.fault("is required"))


def _decode_text(raw: bytes) -> str | None:
    if b"+" in raw or b"%" in raw:
        raw = unquote_to_bytes(raw.replace(b"+", b" "))
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _integer(text: str) -> Any:
    return int(text) if len(text) <= MAX_NUMBER_LENGTH and _INTEGER.fullmatch(text) else MISSING


def _number(text: str) -> Any:
    if len(text) > MAX_NUMBER_LENGTH or not _NUMBER.fullmatch(text):
        return MISSING
    value = float(text)
    return MISSING if value in {float("inf"), float("-inf")} else value


def _boolean(text: str) -> Any:
    return {"true": True, "false": False}.get(text, MISSING)


_DECODERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "integer": (_integer, "must be an integer"),
    "number": (_number, "must be a number"),
    "boolean": (_boolean, "must be true or false"),
    "string": (str, "must be a string"),
}
