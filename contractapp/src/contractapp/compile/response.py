"""Converts what a handler returns to the status, headers and bytes that are sent, and checks them with the contract."""

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin

import orjson
from connexion import NoContent
from connexion.lifecycle import ConnexionResponse
from werkzeug.utils import get_content_type
from werkzeug.wrappers import Response as WerkzeugResponse
from werkzeug.wsgi import ClosingIterator

from contractapp.answers import Answer, ProblemBody, RawHeaders, problem_answer
from contractapp.compile.body import is_json
from contractapp.compile.document import Unsupported, resolve
from contractapp.compile.schema import Validator, validator
from contractapp.problems import MEDIA_TYPE, Problem

_NO_BODY = frozenset({204, 304})
# orjson must not serialise subclasses of dict, such as MultiDict, as plain dicts. A time without a zone is UTC, as in
# Connexion.
_JSON = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_NAIVE_UTC


class ContractBreach(Exception):  # named for the situation
    """A response that the contract does not allow."""


class _Documented(NamedTuple):
    """What the contract documents for one status of one operation."""

    validators: Mapping[str, Validator]
    required_headers: frozenset[str]
    media_type: str | None
    json_types: frozenset[str]


class Responses:
    """The compiled responses of one operation."""

    def __init__(
        self,
        definitions: Mapping[str, Any],
        document: Mapping[str, Any],
        *,
        name: str,
        validate: bool,
        fallback: Callable[[Any], bytes],
        problem_body: ProblemBody,
    ) -> None:
        self._problem_body = problem_body
        self._name = name
        self._validate = validate
        self._fallback = fallback
        documented = {
            str(status).upper(): _document(resolve(document, definition), document)
            for status, definition in definitions.items()
        }
        self._by_status = {int(status): found for status, found in documented.items() if status.isdecimal()}
        self._by_class = {int(status[0]): found for status, found in documented.items() if status[1:] == "XX"}
        self._default = documented.get("DEFAULT")
        media_types = {found.media_type for found in documented.values() if found.media_type}
        self._media_types = {name: _MediaType(name) for name in ("application/json", *sorted(media_types))}

    def answer(self, result: Any, path: str) -> Answer:
        """The answer for a handler's result. Relative targets of `Location` and `Link` are resolved against `path`."""
        if isinstance(result, WerkzeugResponse):
            return self._checked(from_werkzeug(result))
        if isinstance(result, ConnexionResponse):  # its body is serialised already
            return self._checked(from_werkzeug(_from_connexion(result)))
        data, status, headers = unpack(result)
        if isinstance(data, WerkzeugResponse):
            return self._checked(from_werkzeug(_changed(data, status, headers)))
        if status is None:
            status = 204 if data is None or data is NoContent else 200
        name = _content_type(headers) or self._documented_type(status)
        media_type = self._media_types.get(name) or _MediaType(name)
        if isinstance(data, Iterator) and not media_type.is_json:
            content_type = media_type.as_header
            streamed = WerkzeugResponse(data, status=status, headers=dict(headers), content_type=content_type)
            return self._checked(from_werkzeug(streamed))
        return self._plain(data, status, headers, media_type, path)

    def _plain(self, data: Any, status: int, headers: Mapping[str, str], media_type: "_MediaType", path: str) -> Answer:
        if status in _NO_BODY and data == "":  # as Flask's documentation writes it
            data = None
        empty = data is None or data is NoContent
        body = b"" if empty else self._serialise(data, media_type)
        raw: RawHeaders = []
        if not empty:
            raw.append((b"content-type", media_type.encoded))
        if status not in _NO_BODY:
            raw.append((b"content-length", b"%d" % len(body)))
        names = set()
        for key, value in headers.items():
            name, encoded = _header_name(key)
            names.add(name)
            if name not in {"content-type", "content-length"}:
                raw.append((encoded, _reference(name, value, path).encode("latin-1")))
        if self._validate:
            self._check(status, media_type.name, names, data, body)
        return Answer(status, raw, body)

    def not_modified(self, headers: Mapping[str, str]) -> Answer:
        """A 304 with those of the headers that do not describe a body."""
        raw = [(*_header_name(name), str(value)) for name, value in headers.items()]
        kept = [(name, encoded, value) for name, encoded, value in raw if not name.startswith("content-")]
        if self._validate:
            self._check(304, None, {name for name, _, _ in kept}, None, b"")
        return Answer(304, [(encoded, value.encode("latin-1")) for _, encoded, value in kept], b"")

    def problem(self, problem: Problem) -> Answer:
        """The answer for a problem that a handler raised, checked with the contract."""
        members = self._problem_body(problem)
        answer = problem_answer(problem, members)
        if self._validate:
            headers = {key.lower() for key in problem.headers}
            self._check(problem.status, MEDIA_TYPE, headers, members, answer.body)
        return answer

    def _checked(self, answer: Answer) -> Answer:
        if not self._validate:
            return answer
        headers = {key.decode("latin-1") for key, _ in answer.headers}
        media_type = next((v.decode("latin-1") for k, v in answer.headers if k == b"content-type"), None)
        data = None if answer.stream is None and not answer.body else _NOT_DECODED
        try:
            self._check(answer.status, media_type if data else None, headers, data, answer.body)
        except ContractBreach:
            if answer.stream is not None:  # it is not sent, so it has to be closed here
                answer.stream.close()
            raise
        return answer

    def _documented_type(self, status: int) -> str:
        documented = self._find(status)
        return documented.media_type if documented and documented.media_type else "application/json"

    def _find(self, status: int) -> _Documented | None:
        return self._by_status.get(status) or self._by_class.get(status // 100) or self._default

    def _serialise(self, data: Any, media_type: "_MediaType") -> bytes:
        if not media_type.is_json:
            return data if isinstance(data, bytes) else str(data).encode()
        try:
            return orjson.dumps(data, option=_JSON)
        except TypeError:  # Decimal, integers over 64 bits and keys that are not strings: Flask's JSON handles them
            return self._fallback(data)

    def _check(self, status: int, media_type: str | None, headers: set[str], data: Any, body: bytes) -> None:
        documented = self._find(status)
        if documented is None:
            raise ContractBreach(f"{self._name} answered {status}, which the contract does not document.")
        missing = documented.required_headers - headers
        if missing:
            raise ContractBreach(f"{self._name} answered {status} without the header {min(missing)}.")
        if not body:
            if documented.validators and data is not _NOT_DECODED and status not in _NO_BODY:
                raise ContractBreach(f"{self._name} answered {status} without the body that the contract documents.")
            return
        base = (media_type or "").partition(";")[0].strip().lower()
        validator = documented.validators.get(base)
        if validator is None:
            if documented.validators or status in _NO_BODY:
                raise ContractBreach(f"{self._name} answered {status} as {base}, which the contract does not document.")
            return
        if base in documented.json_types and not _matches(validator, data, body):
            fault = next(iter(validator.faults(orjson.loads(body), "body")), None)
            where = f"{fault.pointer or '/'} {fault.detail}" if fault else "the body"
            raise ContractBreach(f"{self._name} answered {status} with a body that breaks the contract: {where}.")


class _MediaType:
    """A media type of responses. Those in the contract are compiled once, at start-up."""

    __slots__ = ("as_header", "encoded", "is_json", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_json = is_json(name)
        self.as_header = get_content_type(name, "utf-8")
        self.encoded = self.as_header.encode("latin-1")


_NOT_DECODED = object()


def from_werkzeug(response: WerkzeugResponse) -> Answer:
    """The answer with the status, headers and body that a Flask or Werkzeug response has over WSGI."""
    if response.status_code in _NO_BODY:
        response.close()
        return Answer(response.status_code, _raw(response), b"")
    if response.is_streamed or response.direct_passthrough:
        chunks = ClosingIterator(response.iter_encoded(), response.close)
        return Answer(response.status_code, _raw(response), b"", chunks)
    body = response.get_data()
    response.close()
    return Answer(response.status_code, _raw(response), body)


def _raw(response: WerkzeugResponse) -> RawHeaders:
    headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in response.headers.to_wsgi_list()]
    if response.status_code in _NO_BODY:
        headers = [(k, v) for k, v in headers if k not in {b"content-type", b"content-length"}]
    return headers


def _document(definition: Mapping[str, Any], document: Mapping[str, Any]) -> _Documented:
    content = definition.get("content", {})
    validators = {
        media_type.partition(";")[0].strip().lower(): validator(media.get("schema", {}), document, "response")
        for media_type, media in content.items()
    }
    if any("*" in media_type for media_type in validators):
        raise Unsupported("a range of media types in a response")
    required = {
        name.lower()
        for name, header in definition.get("headers", {}).items()
        if resolve(document, header).get("required") and name.lower() != "content-type"
    }
    media_type = next((key for key in content if is_json(key)), None) or next(iter(content), None)
    return _Documented(validators, frozenset(required), media_type, frozenset(filter(is_json, validators)))


def unpack(result: Any) -> tuple[Any, int | None, Mapping[str, str]]:
    """Body, status and headers of what a handler returned."""
    if not isinstance(result, tuple):
        return result, None, {}
    if len(result) == 3:
        return result[0], _status(result[1]), result[2] or {}
    if len(result) == 2:
        data, second = result
        if isinstance(second, int | Enum):
            return data, _status(second), {}
        return data, None, second or {}
    if len(result) == 1:
        return result[0], None, {}
    raise TypeError("A handler returns a body, (body, status), (body, headers) or (body, status, headers).")


def _status(status: Any) -> int | None:
    return status if status is None else int(status.value if isinstance(status, Enum) else status)


def _from_connexion(response: ConnexionResponse) -> WerkzeugResponse:
    return WerkzeugResponse(
        response.body,
        status=response.status_code,
        headers=dict(response.headers or {}),
        mimetype=response.mimetype,
        content_type=response.content_type,
    )


def _changed(response: WerkzeugResponse, status: int | None, headers: Mapping[str, str]) -> WerkzeugResponse:
    """The response with the status and headers that the handler returned with it, as `Flask.make_response` does."""
    if status is not None:
        response.status_code = status
    response.headers.update(headers)
    return response


def _content_type(headers: Mapping[str, str]) -> str | None:
    return next((value for key, value in headers.items() if key.lower() == "content-type"), None)


@lru_cache(maxsize=256)
def _header_name(name: str) -> tuple[str, bytes]:
    return name.lower(), name.lower().encode("latin-1")


def _reference(name: str, value: str, path: str) -> str:
    value = str(value)
    if "\n" in value or "\r" in value:
        raise ValueError(f"The value of the header {name} has more than one line.")
    if name == "location":
        return urljoin(quote(path), value)
    if name == "link":
        target, separator, rest = value.partition(">")
        return f"<{urljoin(quote(path), target[1:])}{separator}{rest}" if value.startswith("<") else value
    return value


def _matches(validator: Validator, data: Any, body: bytes) -> bool:
    if data is not _NOT_DECODED:
        try:
            return validator.is_valid(data)
        except ValueError:  # values that are not plain JSON (dates, UUIDs): check the JSON that is sent
            pass
    return validator.is_valid(orjson.loads(body))
