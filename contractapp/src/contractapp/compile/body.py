"""Request bodies: read up to the limit, and checked with the schema of their media type (RFC 9110, section 8)."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from contractapp.answers import Receive
from contractapp.compile.document import Unsupported, resolve
from contractapp.compile.schema import Validator, validator
from contractapp.problems import ContentTooLarge, Fault, InvalidRequest, RequestTimeout, UnsupportedMediaType

RawHeaders = Sequence[tuple[bytes, bytes]]

_decode = msgspec.json.Decoder().decode

_MAX_DIGITS = 18  # of a Content-Length; Python's int() raises an error for 5,000 digits


class Entity(NamedTuple):
    """What the headers of a request say about its body."""

    content_type: str | None
    length: int | None
    present: bool


class RequestBody:
    """The compiled request body of one operation: its media types, with a validator for each."""

    def __init__(self, definition: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        self.required: bool = definition.get("required", False)
        self.validators: dict[str, Validator] = {}
        for media_type, content in definition.get("content", {}).items():
            if not is_json(media_type) or "*" in media_type or ";" in media_type:
                raise Unsupported(f"a body of type {media_type}")
            self.validators[media_type.lower()] = validator(content.get("schema", {}), document, "request")
        schemas = [resolve(document, content.get("schema", {})) for content in definition.get("content", {}).values()]
        if any("default" in schema for schema in schemas):
            raise Unsupported("a default for the whole body")
        self._accepted = " or ".join(self.validators)

    def check_media_type(self, entity: Entity) -> Validator | None:
        """The validator for the announced body, None if none is announced; raises `UnsupportedMediaType` (415)."""
        if entity.content_type is None:
            if entity.present:
                raise self._untyped()
            return None
        validator = self.validators.get(entity.content_type)
        if validator is not None:  # written as in the contract, without parameters
            return validator
        media_type, parameters = parse_media_type(entity.content_type)
        validator = self.validators.get(media_type)
        if validator is None:
            raise UnsupportedMediaType(f"The media type of the request body is not {self._accepted}.")
        if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
            raise UnsupportedMediaType("The charset of the request body is not utf-8.")
        return validator

    def read(self, content: bytes, validator: Validator | None, faults: list[Fault]) -> Any:
        """The decoded body; adds what is wrong with it to `faults`."""
        if not content:
            if self.required:
                faults.append(Fault("body", "", "is required"))
            return {}  # as Connexion does when an optional body is missing
        if validator is None:  # over HTTP/2 a body need not be announced
            raise self._untyped()
        try:
            value = _decode(content)
        except RecursionError:
            faults.append(Fault("body", "", "is nested too deeply"))
        except UnicodeDecodeError:
            faults.append(Fault("body", "", "is not UTF-8"))
        except ValueError as error:
            faults.append(Fault("body", "", _json_reason(error)))
        else:
            if not _is_valid(validator, value):
                faults.extend(validator.faults(value, "body"))
            return value
        return None

    def _untyped(self) -> UnsupportedMediaType:
        return UnsupportedMediaType(f"The request has a body but no Content-Type; send {self._accepted}.")


def _is_valid(validator: Validator, value: Any) -> bool:
    try:
        return validator.is_valid(value)
    except ValueError:  # jsonschema-rs raises it at 255 levels of nesting; faults() reports this
        return False


def _json_reason(error: ValueError) -> str:
    # msgspec's messages give the position and the rule. Those about integers and floats end in a path, which is cut.
    text = str(error).partition(" - at `")[0]
    return "is not JSON: " + text.removeprefix("JSON is malformed: ")


def is_json(media_type: str) -> bool:
    base = media_type.partition(";")[0].strip().lower()
    return base == "application/json" or (base.startswith("application/") and base.endswith("+json"))


def parse_media_type(value: str) -> tuple[str, Mapping[str, str]]:
    """The type in lower case, and the unquoted parameters by lower-case name (RFC 9110, section 8.3.1)."""
    media_type, *rest = value.split(";")
    parameters = {}
    for item in rest:
        name, _, text = item.strip(" \t").partition("=")
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1].replace("\\", "")
        parameters[name.lower()] = text
    return media_type.strip(" \t").lower(), parameters


def entity_of(headers: RawHeaders, max_body_bytes: int) -> Entity:
    """The body that the headers announce; refuses one over the limit, a content coding, and two Content-Types."""
    content_type: str | None = None
    length: int | None = None
    chunked = doubled = coded = False
    for name, value in headers:
        if name == b"content-type":
            doubled = doubled or content_type is not None
            content_type = value.decode("latin-1")
        elif name == b"content-length":
            if not (value.isdigit() and len(value) <= _MAX_DIGITS) or (length is not None and int(value) != length):
                raise InvalidRequest(errors=[Fault("header", "/Content-Length", "is not one plain number")])
            length = int(value)
        elif name == b"transfer-encoding":
            chunked = True
        elif name == b"content-encoding":
            coded = coded or value.strip().lower() not in {b"", b"identity"}
    if length is not None and length > max_body_bytes:
        raise ContentTooLarge(max_body_bytes)
    if doubled:
        raise UnsupportedMediaType("The request has more than one Content-Type.")
    if coded:
        raise UnsupportedMediaType(
            "The request body has a content coding; send it as it is.", headers={"Accept-Encoding": "identity"}
        )
    return Entity(content_type, length, present=chunked or bool(length))


async def read_body(receive: Receive, max_body_bytes: int, timeout_seconds: float) -> bytes:
    """The whole body; raises `ContentTooLarge` (413) over the limit and `RequestTimeout` (408) after the time."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _read(receive, max_body_bytes)
    except TimeoutError:
        raise RequestTimeout from None


async def _read(receive: Receive, max_body_bytes: int) -> bytes:
    content, more = b"", True
    buffer = bytearray()  # not a list of chunks: a client may send one byte at a time
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            # A client that disconnected does not read this answer; one whose framing the server refused does.
            raise InvalidRequest(errors=[Fault("body", "", "did not arrive whole")])
        more = message.get("more_body", False)
        content = message.get("body", b"")
        if len(buffer) + len(content) > max_body_bytes:
            raise ContentTooLarge(max_body_bytes)
        if more or buffer:
            buffer += content
    return bytes(buffer) or content
