"""Compares a contract with a released one and names each change in a sentence.

A change breaks clients when a request that was good is refused, or when an answer comes that the old contract did not
allow: judged by containment of the schemas, not by their text. Breaking changes need a new major version.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs
import yaml

from contractapp.compile.document import resolve
from contractapp.compile.schema import Direction, Validator

METHODS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")

Document = Mapping[str, Any]


class Change(NamedTuple):
    """One difference between two contracts."""

    breaking: bool
    sentence: str

    def __str__(self) -> str:
        return f"{'BREAKING' if self.breaking else 'harmless'}: {self.sentence}"


def compare(old: Document, new: Document) -> list[Change]:
    """Every change from the old contract to the new one, breaking ones first."""
    before, after = _operations(old), _operations(new)
    changes = list(_servers(old, new))
    changes += [Change(True, f"{name} is gone.") for name in before if name not in after]
    changes += [Change(False, f"{name} is new.") for name in after if name not in before]
    for name in before:
        if name in after:
            changes += _Operation(name, old, before[name], new, after[name]).changes()
    return sorted(set(changes), key=lambda change: (not change.breaking, change.sentence))


def _servers(old: Document, new: Document) -> Iterator[Change]:
    before, after = ([server["url"] for server in document.get("servers", ())] for document in (old, new))
    yield from (Change(True, f"The server {url} is gone.") for url in before if url not in after)
    yield from (Change(False, f"The server {url} is new.") for url in after if url not in before)


def major(document: Document) -> int:
    return int(str(document["info"]["version"]).partition(".")[0])


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
        before = self.before.get("security", self.old.get("security", []))
        after = self.after.get("security", self.new.get("security", []))
        if before != after:
            yield Change(
                any(after), f"{self.name} asks for {_shown(after)} of its callers, before for {_shown(before)}."
            )

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
        defaults = [
            resolve(self.old, before["schema"]).get("default"),
            resolve(self.new, after["schema"]).get("default"),
        ]
        if defaults[0] != defaults[1]:
            yield Change(True, f"{self.name}: the default of {called} was {defaults[0]} and is {defaults[1]}.")
        yield from self._schema(called, before["schema"], after["schema"], "request")

    def _body(self) -> Iterator[Change]:
        before = resolve(self.old, self.before.get("requestBody", {}))
        after = resolve(self.new, self.after.get("requestBody", {}))
        if before.get("required", False) != after.get("required", False):
            now = after.get("required", False)
            yield Change(now, f"{self.name}: the body is now {'required' if now else 'optional'}.")
        yield from self._contents("the body", before.get("content", {}), after.get("content", {}), "request")

    def _responses(self) -> Iterator[Change]:
        before, after = self.before.get("responses", {}), self.after.get("responses", {})
        for status in before.keys() - after.keys():
            yield Change(str(status) < "400", f"{self.name} no longer answers {status}.")
        for status in after.keys() - before.keys():
            yield Change(str(status) < "400", f"{self.name} answers {status} too.")
        for status in before.keys() & after.keys():
            one, other = resolve(self.old, before[status]), resolve(self.new, after[status])
            yield from self._contents(
                f"the answer {status}", one.get("content", {}), other.get("content", {}), "response"
            )
            yield from self._headers(status, one.get("headers", {}), other.get("headers", {}))
            yield from self._links(status, one.get("links", {}), other.get("links", {}))

    def _headers(self, status: str, before: Document, after: Document) -> Iterator[Change]:
        for header in before.keys() - after.keys():
            yield Change(True, f"{self.name}: the answer {status} lost its header {header}.")
        for header in after.keys() - before.keys():
            yield Change(False, f"{self.name}: the answer {status} has the new header {header}.")
        for header in before.keys() & after.keys():
            one, other = resolve(self.old, before[header]), resolve(self.new, after[header])
            called = f"the header {header} of the answer {status}"
            if one.get("required", False) != other.get("required", False):
                now = other.get("required", False)
                yield Change(not now, f"{self.name}: {called} is now {'always there' if now else 'optional'}.")
            yield from self._schema(called, one["schema"], other["schema"], "response")

    def _links(self, status: str, before: Document, after: Document) -> Iterator[Change]:
        for link in before.keys() - after.keys():
            yield Change(True, f"{self.name}: the answer {status} lost its link {link}.")
        for link in after.keys() - before.keys():
            yield Change(False, f"{self.name}: the answer {status} has the new link {link}.")
        for link in before.keys() & after.keys():
            one, other = _destination(self.old, before[link]), _destination(self.new, after[link])
            if one != other:
                yield Change(True, f"{self.name}: the link {link} of the answer {status} leads elsewhere.")

    def _contents(self, called: str, before: Document, after: Document, direction: Direction) -> Iterator[Change]:
        for media_type in before.keys() - after.keys():
            yield Change(True, f"{self.name}: {called} is no longer {media_type}.")
        for media_type in after.keys() - before.keys():
            yield Change(direction == "response", f"{self.name}: {called} may be {media_type}.")
        for media_type in before.keys() & after.keys():
            yield from self._schema(called, before[media_type]["schema"], after[media_type]["schema"], direction)

    def _schema(self, called: str, before: Document, after: Document, direction: Direction) -> Iterator[Change]:
        one = Validator(before, self.old, direction).json_schema
        other = Validator(after, self.new, direction).json_schema
        for place, (was, now) in _places(inlined(one), inlined(other)):
            where = called + (f" at {place}" if place else "")
            narrower, wider = _covers(was, now), _covers(now, was)  # does was cover now, does now cover was?
            if narrower == wider == "yes":
                continue
            verdict = wider if direction == "request" else narrower
            if direction == "request":
                said = "takes more than before" if verdict == "yes" else "takes less than before"
            else:
                said = "is narrower than before" if verdict == "yes" else "may be what it was not before"
            if verdict == "unknown":
                said = "has changed in a way that cannot be shown to be compatible"
            yield Change(verdict != "yes", f"{self.name}: {where} {said}: {_difference(was, now)}.")


def _operations(document: Document) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                parameters = [*item.get("parameters", ()), *item[method].get("parameters", ())]
                found[f"{method.upper()} {path}"] = {**item[method], "parameters": parameters}
    return found


def _parameters(document: Document, operation: Document) -> dict[tuple[str, str], Document]:
    found = {}
    for item in operation["parameters"]:
        parameter = resolve(document, item)
        found[parameter["in"], parameter["name"]] = parameter
    return found


def _destination(document: Document, link: Document) -> tuple[Any, Any]:
    found = resolve(document, link)
    return found.get("operationId"), found.get("parameters", {})


def _called(key: tuple[str, str]) -> str:
    return f"{key[0]} parameter {key[1]}"


def _places(was: Any, now: Any, place: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The smallest places at which two schemas differ: a change of a member is told there, once."""
    if was == now:
        return
    objects = was.get("type") == now.get("type") == "object" and was.get("properties") and now.get("properties")
    arrays = was.get("type") == now.get("type") == "array" and was.get("items") and now.get("items")
    if objects:
        rest = [{key: value for key, value in side.items() if key != "properties"} for side in (was, now)]
        ours, theirs = was["properties"], now["properties"]
        if rest[0] == rest[1] and ours.keys() == theirs.keys():
            for name in sorted(ours):
                yield from _places(ours[name], theirs[name], f"{place}/{name}")
            return
        # What is not about the common members is told for the object; they are compared one by one.
        common = ours.keys() & theirs.keys()
        shells = [
            {
                **side,
                "properties": {name: ({} if name in common else schema) for name, schema in side["properties"].items()},
            }
            for side in (was, now)
        ]
        yield place, (shells[0], shells[1])
        for name in sorted(common):
            yield from _places(ours[name], theirs[name], f"{place}/{name}")
    elif arrays and {**was, "items": 0} == {**now, "items": 0}:
        yield from _places(was["items"], now["items"], f"{place}/*")
    else:
        yield place, (was, now)


def _covers(wider: Any, narrower: Any) -> str:
    """Whether the one admits every value of the other: `yes`, `no`, or `unknown`."""
    return str(canonical(wider).covers(canonical(narrower))).rpartition(".")[2].lower()


def canonical(schema: Any) -> jsonschema_rs.CanonicalSchema:
    """The schema in the form that knows containment."""
    # Under draft 4 jsonschema-rs 0.60 leaves bounds of integers undecided.
    return jsonschema_rs.canonicalize({**_draft_7(schema), "$schema": "http://json-schema.org/draft-07/schema#"})


def _draft_7(schema: Any) -> Any:
    """The draft 4 schema with its exclusive bounds as draft 7 writes them."""
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
    """The schema with its references in place; a recursive one keeps the reference."""
    root = schema if root is None else root
    if isinstance(schema, list):
        return [inlined(member, root, seen) for member in schema]
    if not isinstance(schema, Mapping):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in seen:
            return dict(schema)
        name = reference.rpartition("/")[2]
        return inlined(root["components"]["schemas"][name], root, (*seen, reference))
    return {key: inlined(member, root, seen) for key, member in schema.items() if key != "components"}


def _difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The keywords that differ, in the order of the alphabet."""
    words = []
    for key in sorted(was.keys() | now.keys()):
        if was.get(key) == now.get(key):
            continue
        if key == "properties":
            gone, new = sorted(was[key].keys() - now[key].keys()), sorted(now[key].keys() - was[key].keys())
            words += [f"without {', '.join(gone)}"] * bool(gone) + [f"with {', '.join(new)}"] * bool(new)
        else:
            words.append(f"{key} {_shown(was.get(key))} -> {_shown(now.get(key))}")
    return "; ".join(words)


def _shown(value: Any) -> str:
    text = "none" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:80] + "…"


def last_release(folder: Path) -> Path:
    """The contract of the highest version in a folder of released ones, each named for its version."""
    return max(folder.glob("*.yaml"), key=lambda path: [int(part) for part in path.stem.split(".")])


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m contractapp.compat RELEASED CONTRACT`: prints each change; 1 where a new major version is due."""
    parser = ArgumentParser(prog="contractapp.compat", description="Compare a contract with a released one.")
    parser.add_argument("released", type=Path, help="a contract, or a folder of them, of which the latest counts")
    parser.add_argument("contract", type=Path)
    given = parser.parse_args(arguments)
    released = last_release(given.released) if given.released.is_dir() else given.released
    old, new = (yaml.safe_load(path.read_text()) for path in (released, given.contract))
    changes = compare(old, new)
    lines = [f"Since {released.stem}: {len(changes)} changes.", *map(str, changes)]
    breaks = any(change.breaking for change in changes) and major(new) <= major(old)
    if breaks:
        lines.append(f"Breaking changes need version {major(old) + 1}.0.0; the contract says {new['info']['version']}.")
    sys.stdout.write("\n".join([*lines, ""]))
    return int(breaks)


if __name__ == "__main__":
    sys.exit(main())
