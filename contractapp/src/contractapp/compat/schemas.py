"""Compares two schemas by the values that they accept: where they differ, and which of them accepts more."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import jsonschema_rs

from contractapp.compile.document import ContractError, Unsupported, follow
from contractapp.compile.schema import Direction, Validator

Verdict = Literal["yes", "no", "unknown"]

Document = Mapping[str, Any]


class Difference(NamedTuple):
    """One place at which two schemas differ.

    `is_wider` tells whether the new schema accepts all values of the old one there, `is_narrower` the reverse.
    """

    place: str
    is_wider: Verdict
    is_narrower: Verdict
    words: str


def differences(
    old: Document, was: Document, new: Document, now: Document, direction: Direction
) -> Iterator[Difference]:
    """The differences between a schema of the old document and one of the new document."""
    if inlined(was, old) == inlined(now, new):
        return
    try:
        one, other = Validator(was, old, direction).json_schema, Validator(now, new, direction).json_schema
        yield from _compared(one, other)
    except (Unsupported, ContractError, ValueError) as error:  # jsonschema-rs raises ValueError for an invalid schema
        reason = str(error).partition("\n")[0]
        yield Difference("", "unknown", "unknown", f"it cannot be read, {reason}")


def _compared(one: Document, other: Document) -> Iterator[Difference]:
    for place, (before, after) in _places(inlined(one), inlined(other)):
        sides = {**before, "components": one["components"]}, {**after, "components": other["components"]}
        is_narrower, is_wider = covers(*sides), covers(*reversed(sides))
        if not is_narrower == is_wider == "yes":
            yield Difference(place, is_wider, is_narrower, _words(before, after))


def covers(wider: Document, narrower: Document) -> Verdict:
    """Whether `wider` accepts every value that `narrower` accepts."""
    verdict = str(canonical(wider).covers(canonical(narrower))).rpartition(".")[2].lower()
    return "yes" if verdict == "yes" else "no" if verdict == "no" else "unknown"


def _places(was: Any, now: Any, place: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The smallest places at which two schemas differ: a change of a member is reported at the member only."""
    if was == now:
        return
    objects = was.get("type") == now.get("type") == "object" and was.get("properties") and now.get("properties")
    arrays = was.get("type") == now.get("type") == "array" and was.get("items") and now.get("items")
    if objects:
        rest = [{key: value for key, value in side.items() if key != "properties"} for side in (was, now)]
        old, new = was["properties"], now["properties"]
        if rest[0] == rest[1] and old.keys() == new.keys():
            for name in sorted(old):
                yield from _places(old[name], new[name], f"{place}/{name}")
            return
        # Common members are compared one by one; all other differences are reported for the object.
        common = old.keys() & new.keys()
        shells = [
            {
                **side,
                "properties": {name: ({} if name in common else schema) for name, schema in side["properties"].items()},
            }
            for side in (was, now)
        ]
        yield place, (shells[0], shells[1])
        for name in sorted(common):
            yield from _places(old[name], new[name], f"{place}/{name}")
    elif arrays and {**was, "items": 0} == {**now, "items": 0}:
        yield from _places(was["items"], now["items"], f"{place}/*")
    else:
        yield place, (was, now)


def canonical(schema: Any) -> jsonschema_rs.CanonicalSchema:
    """The schema in the canonical form of jsonschema-rs, whose method `covers` decides containment."""
    # For draft 4, jsonschema-rs 0.60 does not compare bounds of integers.
    return jsonschema_rs.canonicalize({**_draft_7(schema), "$schema": "http://json-schema.org/draft-07/schema#"})


def _draft_7(schema: Any) -> Any:
    """The draft 4 schema with its exclusive bounds in the notation of draft 7."""
    if isinstance(schema, list):
        return [_draft_7(member) for member in schema]
    if not isinstance(schema, Mapping):
        return schema
    result = {key: _draft_7(member) for key, member in schema.items()}
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(result.get(exclusive), bool) and result.pop(exclusive):
            result[exclusive] = result.pop(bound)
    return result


def inlined(schema: Any, root: Any = None, seen: tuple[str, ...] = ()) -> Any:
    """The schema with its references replaced by their targets, except recursive ones and ones into other files.

    `root` is the document that the references point into; by default the schema itself.
    """
    root = schema if root is None else root
    if isinstance(schema, list):
        return [inlined(member, root, seen) for member in schema]
    if not isinstance(schema, Mapping):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in seen or not reference.startswith("#/"):
            return dict(schema)
        return inlined(follow(root, reference), root, (*seen, reference))
    members = {key: member for key, member in schema.items() if schema is not root or key != "components"}
    return {key: inlined(member, root, seen) for key, member in members.items()}


def _words(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The keywords that differ, in alphabetical order."""
    words = []
    for key in sorted(was.keys() | now.keys()):
        if was.get(key) == now.get(key):
            continue
        if key == "properties":
            before, after = was.get(key, {}).keys(), now.get(key, {}).keys()
            gone, new = sorted(before - after), sorted(after - before)
            words += [f"without {', '.join(gone)}"] * bool(gone) + [f"with {', '.join(new)}"] * bool(new)
        else:
            words.append(f"{key} {shown(was.get(key))} -> {shown(now.get(key))}")
    return "; ".join(words)


def shown(value: Any) -> str:
    text = "none" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:80] + "…"
