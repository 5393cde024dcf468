"""The header parameters If-Match and If-None-Match: reads them, and gives them to the handler or to the response.

An operation has preconditions if its contract declares a header parameter of such a name and documents the status of
a precondition that does not hold: 412, or 304 for If-None-Match on GET. On GET, the runtime compares them with the
`ETag` that the handler returns. On other methods, the handler gets them as its arguments `if_match` and
`if_none_match`, because only the statement that changes the row can compare them without a race.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from contractapp.compile.document import resolve
from contractapp.compile.parameters import Parameter
from contractapp.preconditions import EntityTags, Preconditions
from contractapp.problems import Fault, PreconditionRequired

_ARGUMENTS = {"if-match": "if_match", "if-none-match": "if_none_match"}

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
            if (argument := _ARGUMENTS.get(parameter.name.lower())) is not None
            and failing[argument] in statuses
            and (self._is_get or argument in taken)
        }
        required = {name: found for name, found in self.parameters.items() if found[1].required}
        self._refused_with_400 = required if "428" not in statuses else {}
        self._refused_with_428 = required if "428" in statuses else {}

    def read(self, headers: Sequence[tuple[bytes, bytes]], faults: list[Fault]) -> dict[str, EntityTags]:
        """The preconditions of a request, by argument; adds what is wrong with them to `faults`."""
        lines: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in self.parameters:
                lines[name] = lines[name] + b", " + value if name in lines else value
        found = {}
        for name, value in lines.items():
            argument, parameter = self.parameters[name]
            text = value.decode("latin-1")
            tags = EntityTags.parse(text)
            if tags is None:
                faults.append(parameter.fault("must be * or a list of entity tags, each in double quotes"))
            else:
                parameter.read(text, faults)
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
