"""The configuration of Schemathesis for the everyday run, and the check that only that run can make.

The checks that are off in `schemathesis.toml`, and their replacements in `hooks.py`, are the same for every run.
"""

import tomllib
from collections.abc import Mapping
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from sqlalchemy import exists, select, text

from api import db
from contractapp import IdempotencyKeyReused
from contractapp.compile.keys import parse_key
from tests.fuzz.hooks import refusal_type
from tests.resources import OPERATIONS, ROOT, Operation, Refusal, refusals_of

PHASES = ("examples", "coverage", "fuzzing", "stateful")
PUBLISHED = tomllib.loads((ROOT / "schemathesis.toml").read_text())


def config(phase: str, max_examples: int = 1) -> SchemathesisConfig:
    """One phase, with the same cases in every run: no seed, earlier run or source code of the API affects them."""
    phases = {name: {**PUBLISHED["phases"].get(name, {}), "enabled": name == phase} for name in PHASES}
    # Without inferred links, only the links in the contract are tested.
    phases["stateful"]["inference"] = {"algorithms": []}
    return SchemathesisConfig.from_dict(
        {
            "analysis": {"constants": {"enabled": False}},
            "checks": PUBLISHED["checks"],
            "generation": {"deterministic": True, "max-examples": max_examples},
            "phases": phases,
        }
    )


@schemathesis.check
def a_refusal_is_true(_ctx: Any, response: Any, case: Any) -> None:
    """The database confirms the reason of a refusal: the name is taken, the author does not exist.

    Only in process: on a started server, another worker may have changed the row since.
    """
    application, kind = case.operation.app, refusal_type(response, case)
    if application is None or kind is None or not isinstance(case.body, dict):
        return
    if kind == IdempotencyKeyReused.type:
        assert _is_used(case, application), f"{case.headers} was refused, but no other request had this key"
    values = {**case.body, "id": next(iter(case.path_parameters.values()), 0)}
    refusals = [refusal for refusal in refusals_of(_operation(case)) if refusal.problem.type == kind]
    if refusals:  # other problems have no constraint
        assert any(_is_true(refusal, values, application) for refusal in refusals), f"{kind} was claimed, and is not so"


def _is_used(case: Any, application: Any) -> bool:
    """Whether the database has the idempotency key of a request."""
    statement = text("SELECT count(*) FROM idempotency_keys WHERE key = :key")
    with application.app.app_context(), db.engine.connect() as connection:
        return bool(connection.scalar(statement, {"key": parse_key(case.headers["Idempotency-Key"])}))


def _operation(case: Any) -> Operation:
    return OPERATIONS[case.operation.definition.raw["operationId"]]


def _is_true(refusal: Refusal, values: Mapping[str, Any], application: Any) -> bool:
    """Whether the database has another row with these values, or lacks the row that they refer to."""
    if not all(column.name in values for column in refusal.columns):
        return False
    found = exists().where(
        *(
            other == values[column.name]
            for column, other in zip(refusal.columns, refusal.targets or refusal.columns, strict=True)
        )
    )
    if not refusal.targets:
        found = found.where(refusal.table.c.id != values.get("id", 0))
    with application.app.app_context(), db.engine.connect() as connection:
        return bool(connection.scalar(select(found))) is not bool(refusal.targets)
