"""The header parameter `Idempotency-Key`: its grammar, and the digest by which two requests are compared."""

import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from contractapp.answers import Answer
from contractapp.compile.parameters import MISSING, Parameter
from contractapp.idempotency import IdempotencyStore, answer_once
from contractapp.preconditions import EntityTags
from contractapp.problems import Fault, IdempotencyKeyInUse, IdempotencyKeyReused

# Makes an answer of a handler's arguments and the path of the request.
Answering = Callable[[dict[str, Any], str], Answer]

NAME = "Idempotency-Key"
_BARE = re.compile(r"[!#-~][!-~]{0,254}")
# A string of RFC 9651, section 3.3.3, without blanks.
_QUOTED = re.compile(r'"((?:[!#-\[\]-~]|\\["\\]){1,255})"')


class Key(Parameter):
    """The compiled header parameter: the value is the key."""

    argument = NAME  # no handler has an argument of this name

    def read(self, text: str, faults: list[Fault]) -> Any:
        """The key; the schema of the contract checks the text as it was sent."""
        key = parse_key(text)
        if key is None:
            faults.append(self.fault("must be one string of 1 to 255 visible ASCII characters"))
            return MISSING
        super().read(text, faults)
        return key


def is_key(parameter: Mapping[str, Any]) -> bool:
    """Whether a parameter of the contract is the header `Idempotency-Key`."""
    return bool(parameter["in"] == "header" and parameter["name"].lower() == NAME.lower())


def missing_statuses(responses: Iterable[object]) -> list[str]:
    """The statuses of the problems of keys that are not among the documented ones."""
    documented = {str(status).upper() for status in responses}
    needed = (str(IdempotencyKeyInUse.status), str(IdempotencyKeyReused.status))
    return [status for status in needed if not documented & {status, "4XX", "DEFAULT"}]


def parse_key(text: str) -> str | None:
    """The key in the value of the header: a quoted string (RFC 9651) or the same text bare; None if it is neither."""
    if _BARE.fullmatch(text):
        return text
    quoted = _QUOTED.fullmatch(text)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else None


def once(answer: Answering, store: IdempotencyStore, operation: str) -> Answering:
    """The function `answer` of an operation, which is called once for all requests with the same key."""

    def answer_with_key(arguments: dict[str, Any], path: str) -> Answer:
        key = arguments.pop(NAME, None)
        if key is None:
            return answer(arguments, path)
        return answer_once(store, key, operation, digest_of(arguments), lambda: answer(arguments, path))

    return answer_with_key


def digest_of(arguments: Mapping[str, Any]) -> bytes:
    """The SHA-256 of a handler's arguments; the order of the members of a JSON object makes no difference."""
    return sha256(_encoder.encode(arguments)).digest()


def _tags(value: object) -> object:
    assert isinstance(value, EntityTags)  # all other arguments are JSON
    return value.is_any, value.tags


_encoder = msgspec.json.Encoder(order="deterministic", enc_hook=_tags)
