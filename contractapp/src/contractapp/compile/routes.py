"""Finds the operations of a path. The most specific template wins, segment by segment; there are no redirects.

A literal segment is more specific than one that is partly a parameter (`{name}.json`), which is more specific than a
parameter.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from contractapp.compile.operation import CompiledOperation
from contractapp.compile.parameters import is_parameter


class Route:
    """One path of the contract. In `operations`, `None` is an operation that is left to stock Connexion."""

    __slots__ = ("allow", "operations", "template")

    def __init__(self, template: str) -> None:
        self.template = template
        self.operations: dict[str, CompiledOperation | None] = {}
        self.allow = ""

    def add(self, method: str, operation: CompiledOperation | None) -> None:
        self.operations[method] = operation
        methods = {*self.operations, "OPTIONS"} | ({"HEAD"} if "GET" in self.operations else set())
        self.allow = ", ".join(sorted(methods))


class Match(NamedTuple):
    """A route, and the text of the segments that are or contain parameters, in the order of the template."""

    route: Route
    values: list[str]


class Routes:
    """All paths of all contracts of an application."""

    def __init__(self) -> None:
        self._literal: dict[str, Route] = {}
        self._root = _Node()

    def add(self, path: str, method: str, operation: CompiledOperation | None) -> None:
        """Add an operation under its full path, such as `/api/things/{thing_id}`."""
        node = self._root
        for segment in path.split("/"):
            node = node.child(segment)
        if node.route is None:
            node.route = Route(path)
            if "{" not in path:
                self._literal[path] = node.route
        node.route.add(method, operation)

    def find(self, path: str) -> Match | None:
        route = self._literal.get(path)
        if route is not None:
            return Match(route, [])
        return self._root.find(path.split("/"), 0, [])

    def __iter__(self) -> Iterator[Route]:
        yield from self._root.routes()


class _Node:
    __slots__ = ("literals", "parameter", "partials", "route")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.partials: dict[_Partial, _Node] = {}
        self.parameter: _Node | None = None
        self.route: Route | None = None

    def child(self, segment: str) -> "_Node":
        if is_parameter(segment):
            self.parameter = self.parameter or _Node()
            return self.parameter
        if "{" not in segment:
            return self.literals.setdefault(segment, _Node())
        node = self.partials.setdefault(_Partial(_PARAMETER.split(segment)), _Node())
        self.partials = dict(sorted(self.partials.items(), key=lambda item: item[0].rank))
        return node

    def find(self, segments: list[str], depth: int, values: list[str]) -> Match | None:
        if depth == len(segments):
            return Match(self.route, values) if self.route else None
        segment = segments[depth]
        literal = self.literals.get(segment)
        if literal is not None:
            found = literal.find(segments, depth + 1, values)
            if found is not None:
                return found
        for partial, node in self.partials.items():
            if partial.fits(segment):
                found = node.find(segments, depth + 1, [*values, segment])
                if found is not None:
                    return found
        if self.parameter is None or not segment:
            return None
        return self.parameter.find(segments, depth + 1, [*values, segment])

    def routes(self) -> Iterator[Route]:
        if self.route is not None:
            yield self.route
        nodes = (*self.literals.values(), *self.partials.values(), *((self.parameter,) if self.parameter else ()))
        for node in nodes:
            yield from node.routes()


class _Partial(tuple[str, ...]):
    """The literal texts around the parameters of a segment: `{name}.json` is `("", ".json")`."""

    __slots__ = ()

    @property
    def rank(self) -> tuple[int, int]:
        """A lower rank is more specific: more literal text, then fewer parameters."""
        return -sum(map(len, self)), len(self)

    def fits(self, segment: str) -> bool:
        """Whether the segment matches, with at least one character for each parameter. Takes linear time."""
        first, *middle, last = self
        if not segment.startswith(first):
            return False
        end = len(segment) - len(last)
        position = len(first)
        for text in middle:  # the leftmost match leaves the most text for the rest
            found = segment.find(text, position + 1, end)
            if found < 0:
                return False
            position = found + len(text)
        return segment.endswith(last) and position < end


_PARAMETER = re.compile(r"\{[^{}]*\}")
