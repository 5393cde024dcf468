"""The contract as a document: reads it, resolves its references, and publishes it as it was written."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import orjson
import yaml


class ContractError(Exception):
    """A contract that cannot be served, or that does not match its handlers.

    Attributes:
        faults: One sentence for each thing that is wrong, as a tuple.
    """

    def __init__(self, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(faults))


class Unsupported(Exception):  # not an error: the operation is left to stock Connexion
    """A feature of an operation that the compiler does not support."""


class _Loader(yaml.SafeLoader):
    """YAML's JSON schema, which OpenAPI 3.0.3 recommends (section 4.2): a date is a string."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_document(path: Path) -> Any:
    """The document in a YAML or JSON file, with string keys. Raises `ContractError` if it cannot be read."""
    try:
        return _with_string_keys(yaml.load(path.read_text("utf-8"), _Loader))  # noqa: S506  # _Loader is a SafeLoader
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ContractError([f"{path} cannot be read: {' '.join(str(error).split())}"]) from error


def require_openapi_30(document: Any, name: str) -> None:
    """Raise `ContractError` unless the document is OpenAPI 3.0; its sentence calls the document `name`."""
    members = document if isinstance(document, Mapping) else {}
    version = f"OpenAPI {members['openapi']}" if "openapi" in members else f"Swagger {members.get('swagger')}"
    if not version.startswith("OpenAPI 3.0"):
        kind = version if members.keys() & {"openapi", "swagger"} else "not OpenAPI"
        raise ContractError([f"{name} is {kind}: only OpenAPI 3.0 is read."])


def resolve(document: Mapping[str, Any], node: Any) -> Any:
    """The node, or the node of the document to which its `$ref` points."""
    seen = set()
    while isinstance(node, Mapping) and "$ref" in node:
        reference = node["$ref"]
        if not reference.startswith("#/"):
            raise Unsupported(f"a reference to another file ({reference})")
        if reference in seen:
            raise ContractError([f"The reference {reference} leads back to itself."])
        seen.add(reference)
        node = follow(document, reference)
    return node


def dangling(document: Mapping[str, Any]) -> list[str]:
    """The references within the document that point to nothing, in the order of their first use."""
    found: dict[str, None] = {}
    waiting: list[Any] = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            reference = node.get("$ref")
            if isinstance(reference, str) and reference.startswith("#/") and not _leads_somewhere(document, reference):
                found[reference] = None
            waiting.extend(reversed(list(node.values())))
        elif isinstance(node, list):
            waiting.extend(reversed(node))
    return list(found)


class Published:
    """The document as clients get it: as written, except that `servers` is the path at which the API is served.

    It is serialised once, with a placeholder for that path: serialising YAML takes milliseconds.
    """

    def __init__(self, document: Mapping[str, Any], write: Callable[[dict[str, Any]], bytes]) -> None:
        mark = "url-" + uuid4().hex
        written = write({**document, "servers": [{"url": mark}]})
        unquoted = written.replace(b'"%b"' % mark.encode(), mark.encode())
        self._before, _, self._after = unquoted.partition(mark.encode())
        self._hash = sha256(self._before + self._after)

    def at(self, path: str) -> tuple[bytes, str]:
        """The document for clients that reach the API at this path, and its SHA-256 hash in hexadecimal."""
        url = orjson.dumps(path or "/")  # a JSON string is also a YAML string
        hashed = self._hash.copy()
        hashed.update(url)
        return b"".join((self._before, url, self._after)), hashed.hexdigest()


def as_json(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, default=str)


def as_yaml(document: dict[str, Any]) -> bytes:
    # CSafeDumper is three times as fast; it exists if PyYAML was built with libyaml, as its wheels are.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    written: str = yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True)
    return written.encode()


def _with_string_keys(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _with_string_keys(member) for key, member in node.items()}
    return [_with_string_keys(member) for member in node] if isinstance(node, list) else node


def _leads_somewhere(document: Mapping[str, Any], reference: str) -> bool:
    try:
        follow(document, reference)
    except ContractError:
        return False
    return True


def follow(document: Mapping[str, Any], reference: str) -> Any:
    """The node to which a reference within the document points; it may be another reference."""
    node: Any = document
    for segment in reference[2:].split("/"):
        key = unquote(segment).replace("~1", "/").replace("~0", "~")
        if not isinstance(node, Mapping) or key not in node:
            raise ContractError([f"The reference {reference} points to nothing."])
        node = node[key]
    return node
