"""Checks values with OpenAPI 3.0 schemas, using python-jsonschema.

`ContractApp` uses another implementation, so that a fault in either one is detected.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jsonschema
from jsonschema import validators

from contractapp.testing.ledger.contract import Contract

_RANGES = {"int32": 2**31, "int64": 2**63}

formats = jsonschema.FormatChecker()
for _name, _limit in _RANGES.items():
    formats.checks(_name)(lambda value, limit=_limit: not isinstance(value, int) or -limit <= value < limit)


def _type(validator: Any, types: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    if instance is None and schema.get("nullable") is True:
        return
    yield from jsonschema.Draft4Validator.VALIDATORS["type"](validator, types, instance, schema)


def _required(validator: Any, required: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    """A member that only requests have (`writeOnly`) is not required in a response."""
    names = [name for name in required if not schema.get("properties", {}).get(name, {}).get("writeOnly")]
    yield from jsonschema.Draft4Validator.VALIDATORS["required"](validator, names, instance, schema)


def _write_only(_validator: Any, hidden: Any, _instance: Any, _schema: Mapping[str, Any]) -> Iterator[Any]:
    if hidden is True:
        yield jsonschema.ValidationError("is not for responses")


def _reference(contract: Contract, validator: Any, target: str, instance: Any, _schema: Any) -> Iterator[Any]:
    found = contract.followed(target)
    if found is None:
        yield jsonschema.ValidationError("leads nowhere that the ledger can read")
    else:
        yield from validator.descend(instance, found)


# The schema of a response: draft 4, with `nullable` and `writeOnly` in addition (OpenAPI 3.0.3, section 4.7.24).
_Dialect = validators.extend(
    jsonschema.Draft4Validator, {"type": _type, "required": _required, "writeOnly": _write_only}
)


class Schemas:
    """The schemas of one contract, each compiled when it is first used."""

    def __init__(self, contract: Contract) -> None:
        self._dialect = validators.extend(_Dialect, {"$ref": partial(_reference, contract)})
        self._validators: dict[int, tuple[Any, Any]] = {}

    def faults(self, schema: Mapping[str, Any], value: Any) -> Iterator[str]:
        """A sentence for each rule of the schema that the value breaks."""
        known = self._validators.get(id(schema))
        if known is None:  # kept together with its schema, because an id is unique only while its object exists
            known = self._validators[id(schema)] = schema, self._dialect(schema, format_checker=formats)
        for error in known[1].iter_errors(value):
            place = "/".join(str(segment) for segment in error.absolute_path) or "the whole"
            yield f"{place} breaks {error.validator} {str(error.validator_value)[:80]}"
