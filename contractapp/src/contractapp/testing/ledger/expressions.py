"""Evaluates runtime expressions of OpenAPI links (OpenAPI 3.0.3, section 4.7.20.3) for a request and its response."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

_EMBEDDED = re.compile(r"\{(\$[^{}]*)\}")


class Response(NamedTuple):
    """A response of an ASGI application, with its request. Header names are in lower case.

    `path` is percent-decoded and includes `base_path`, under which the application serves the contract.
    `sent` is the body of the request, `sent_headers` are its headers.
    """

    method: str
    path: str
    query: str
    sent: bytes
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    base_path: str = ""
    url: str = ""
    sent_headers: tuple[tuple[str, str], ...] = ()

    def header(self, name: str) -> str | None:
        """The first value of a header; None if there is none."""
        return next((value for key, value in self.headers if key == name), None)


def evaluated(value: Any, response: Response, path_values: Mapping[str, str]) -> str | None:
    """A value of a link's `parameters`, evaluated, as text; None if an expression has no value.

    Text that begins with `$` is an expression. Other text may contain expressions in braces. All else is constant.
    """
    if not isinstance(value, str):
        return as_text(value)
    if value.startswith("$"):
        return _expression(value, response, path_values)
    parts = {name: _expression(name, response, path_values) for name in _EMBEDDED.findall(value)}
    if None in parts.values():
        return None
    return _EMBEDDED.sub(lambda match: str(parts[match[1]]), value)


def arguments(response: Response, path_values: Mapping[str, str]) -> dict[str, str]:
    """The values of a request's parameters, under the name and under the qualified name, as links use (`path.id`)."""
    given = {f"header.{name}": value for name, value in response.sent_headers}
    given |= {f"query.{name}": value for name, value in parse_qsl(response.query, keep_blank_values=True)}
    given |= {f"path.{name}": value for name, value in path_values.items()}
    return {name.partition(".")[2]: value for name, value in given.items()} | given


def as_text(value: Any) -> str:
    """A JSON value as the text of a parameter."""
    return value if isinstance(value, str) else json.dumps(value)


def _expression(expression: str, response: Response, path_values: Mapping[str, str]) -> str | None:
    simple = {"$url": response.url, "$method": response.method, "$statusCode": str(response.status)}
    if expression in simple:
        return simple[expression]
    message, _, place = expression.partition(".")
    body = {"$request": response.sent, "$response": response.body}.get(message)
    if body is None:
        return None
    source, mark, pointer = place.partition("#")
    if source == "body":
        return _in_body(body, pointer) if mark else body.decode(errors="replace")
    kind, _, name = place.partition(".")
    if message == "$request":
        return arguments(response, path_values).get(f"{kind}.{name.lower() if kind == 'header' else name}")
    return response.header(name.lower()) if kind == "header" else None


def _in_body(body: bytes, pointer: str) -> str | None:
    """The member of a JSON body at a JSON pointer (RFC 6901), as text; None if there is none."""
    try:
        node = json.loads(body)
    except ValueError:
        return None
    for segment in pointer.split("/")[1:]:
        key = segment.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and key in node:
            node = node[key]
        else:
            return None
    return None if node is None else as_text(node)
