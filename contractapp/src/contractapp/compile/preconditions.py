"""The header parameters If-Match and If-None-Match: reads them, and gives them to the handler or to the response.

An operation has preconditions if its contract declares a header parameter of such a name and documents the status of
a precondition that does not hold: 412, or 304 for If-None-Match on GET. On GET, the runtime compares them with the
`ETag` that the handler returns. On other methods, the handler gets them as its arguments `if_match` and
`if_none_match`, because only the statement that changes the row can compare them without a race.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from connexion.lifecycle import ConnexionResponse
from werkzeug.wrappers import Response as WerkzeugResponse

from contractapp.compile.document import resolve
from contractapp.compile.parameters import Parameter
from contractapp.compile.response import unpack
from contractapp.preconditions import EntityTags, Preconditions
from contractapp.problems import Fault, PreconditionRequired

ARGUMENTS = {"if-match": "if_match", "if-none-match": "if_none_match"}

# The key of the preconditions of a GET among the arguments: no argument of a handler can have this name.
ON_GET = "If-Match, If-None-Match"


class PreconditionHeaders:
    """The preconditions of one operation. `arguments` are their names, `if_match` and `if_none_match`."""

    def __init__(
        self, parameters: Sequence[Parameter], method: str, statuses: Collection[str], taken: Collection[str]
    ) -> None:
        """`statuses` are those that the operation documents, `taken` the names of the handler's arguments."""
        self._is_get = method == "GET"
        failing = {"if_match": "412", "if_none_match": "304" if self._is_get else "412"}
        self.parameters = {
            parameter.name.lower().encode(): (argument, parameter)
            for parameter in parameters
            if (argument := ARGUMENTS.get(parameter.name.lower())) is not None
            and failing[argument] in statuses
            and (self._is_get or argument in taken)
        }
        required = {name: found for name, found in self.parameters.items() if found[1].required}
        self._is_required = bool(required)
        self._refused_with_400 = required if "428" not in statuses else {}
        self._refused_with_428 = required if "428" in statuses else {}

    def read(self, headers: Sequence[tuple[bytes, bytes]], faults: list[Fault]) -> dict[str, EntityTags] | None:
        """The preconditions of a request, by argument, or None; adds what is wrong with them to `faults`."""
        sent = [line for line in headers if line[0] in self.parameters]
        if not sent and not self._is_required:
            return None
        lines: dict[bytes, bytes] = {}
        for name, value in sent:
            lines[name] = lines[name] + b", " + value if name in lines else value
        found = {}
        for name, value in lines.items():
            argument, parameter = self.parameters[name]
            read = _read_often if len(value) <= _LONGEST_OFTEN else _read
            tags, wrong = read(parameter, value)
            faults.extend(wrong)
            if tags is not None:
                found[argument] = tags
        faults.extend(p.fault("is required") for name, (_, p) in self._refused_with_400.items() if name not in lines)
        return found

    def bind(self, found: Mapping[str, EntityTags], arguments: dict[str, Any]) -> None:
        """Add the preconditions to the arguments; raises `PreconditionRequired` if a required one is missing."""
        for argument, parameter in self._refused_with_428.values():
            if argument not in found:
                raise PreconditionRequired(parameter.name)
        if found and self._is_get:
            arguments[ON_GET] = Preconditions(**found)
        elif found:
            arguments.update(found)


def unmodified_headers(result: Any, preconditions: Preconditions) -> Mapping[str, str] | None:
    """The headers of a handler's result, if it has the status 200 and a tag that has not been modified; else None."""
    headers: Mapping[str, str]
    if isinstance(result, WerkzeugResponse | ConnexionResponse):
        status, headers = result.status_code, dict(result.headers or {})
    else:
        _, status, headers = unpack(result)
    tag = headers.get("ETag") or next((value for name, value in headers.items() if name.lower() == "etag"), None)
    if status not in {200, None} or tag is None or not preconditions.is_not_modified(tag):
        return None
    if isinstance(result, WerkzeugResponse):
        result.close()
    return headers


def _read(parameter: Parameter, value: bytes) -> tuple[EntityTags | None, Sequence[Fault]]:
    """The tags in the value of a header, and what is wrong with it."""
    text = value.decode("latin-1")
    tags = EntityTags.parse(text)
    if tags is None:
        return None, [parameter.fault("must be * or a list of entity tags, each in double quotes")]
    faults: list[Fault] = []
    parameter.read(text, faults)
    return tags, faults


# Clients ask again and again with the same tags. Long values are not kept: they would take much memory.
_LONGEST_OFTEN = 64
_read_often = lru_cache(maxsize=1024)(_read)


def require_if_match(document: Mapping[str, Any]) -> None:
    """Change a document: `If-Match` becomes a required parameter of each operation that has it and documents a 428."""
    for written in document["paths"].values():
        item = resolve(document, written)
        for operation in item.values():
            if isinstance(operation, dict) and "428" in map(str, operation.get("responses", ())):
                _require(document, item.get("parameters", []), operation)


def _require(document: Mapping[str, Any], of_path: Sequence[Any], operation: dict[str, Any]) -> None:
    own = operation.get("parameters", [])
    for written in (*of_path, *own):
        parameter = resolve(document, written)
        if parameter["in"] == "header" and parameter["name"].lower() == "if-match":
            # A copy: an operation without a 428 may refer to the same parameter.
            operation["parameters"] = [*(one for one in own if one is not written), {**parameter, "required": True}]
