"""Schemathesis, set up for this contract: what both the everyday run and `tox -e fuzz` use.

Every check of its own is on but two, and each of these has one of ours in its place that hides nothing else.

- A valid request may get a 400 (a taken name, an author who does not exist, a cursor of another list), which
  `positive_data_acceptance` calls a failure; allowing the status would hide every other 400 too.
  `valid_data_is_accepted` goes by the `type` of the problem, and asks the database whether what it claims is so.
- A post goes with its author, which `ensure_resource_availability` calls a failure. `what_was_created_is_there` knows.
"""

from collections.abc import Mapping
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import ensure_resource_availability, positive_data_acceptance
from sqlalchemy import text

from api import db

INVALID = "urn:problem:invalid-request"
_LOST_CURSOR = [{"in": "query", "pointer": "/cursor", "detail": "is not a cursor of this list"}]

# What a refusal claims, and the question to the database whose answer must be a row when it is true.
_TRUE_WHEN_FOUND = {
    "urn:problem:username-taken": "SELECT 1 FROM users WHERE username = :username AND id <> :id",
    "urn:problem:email-taken": "SELECT 1 FROM users WHERE email = :email AND id <> :id",
    "urn:problem:unknown-user": "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM users WHERE id = :user_id)",
}


_PHASES: dict[str, dict[str, Any]] = {
    "examples": {},
    "coverage": {"generate-duplicate-query-parameters": True},
    "fuzzing": {},
    # Links that Schemathesis infers would follow what the contract forgot to say.
    "stateful": {"inference": {"algorithms": []}},
}

CHECKS = {
    "max_response_time": 10,
    "positive_data_acceptance": {"enabled": False},
    "ensure_resource_availability": {"enabled": False},
}


def config(phase: str, max_examples: int = 1) -> SchemathesisConfig:
    """One phase, the same cases in every run: drawn from no seed, no earlier run and not from the source of the API."""
    phases = {name: {**options, "enabled": name == phase} for name, options in _PHASES.items()}
    return SchemathesisConfig.from_dict(
        {
            "analysis": {"constants": {"enabled": False}},
            "checks": CHECKS,
            "generation": {"deterministic": True, "max-examples": max_examples},
            "phases": phases,
        }
    )


@schemathesis.check
def valid_data_is_accepted(ctx: Any, response: Any, case: Any) -> None:
    """A valid request is refused for a reason that the contract's examples name, and that is true, or not at all."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code != 400:
        positive_data_acceptance(ctx, response, case)
        return
    problem = response.json()
    kind = problem["type"]
    if kind == INVALID and case.query.get("cursor") is not None and problem["errors"] == _LOST_CURSOR:
        return
    if kind == INVALID or kind not in _documented_types(case.operation):
        positive_data_acceptance(ctx, response, case)
        return
    application = case.operation.app
    if application is not None:  # not across a network: others may have changed the row since
        assert _is_true(kind, case, application), f"{kind} was claimed, and is not so"


@schemathesis.check
def what_was_created_is_there(ctx: Any, response: Any, case: Any) -> None:
    """What the scenario created answers, unless the scenario deleted it, or the user whose post it was."""
    created = ctx.internals.find_parent(case_id=case.id)
    if response.status_code == 404 and created is not None and created.operation.label == "POST /posts":
        author = ctx.internals.find_response(case_id=created.id).json().get("user_id")
        if any(_deleted_user(ctx, other) == author for other in ctx.internals.find_all_cases()):
            return
    ensure_resource_availability(ctx, response, case)


def _deleted_user(ctx: Any, case: Any) -> int | None:
    if case.operation.label != "DELETE /users/{user_id}":
        return None
    response = ctx.internals.find_response(case_id=case.id)
    return case.path_parameters["user_id"] if response is not None and response.status_code == 200 else None


def _documented_types(operation: Any) -> set[str]:
    document = operation.schema.raw_schema
    response = resolve(document, operation.definition.raw["responses"]["400"])
    examples = response["content"]["application/problem+json"]["examples"]
    return {resolve(document, example)["value"]["type"] for example in examples.values()}


def _is_true(kind: str, case: Any, application: Any) -> bool:
    values = {"username": None, "email": None, "user_id": None, **case.body}
    values["id"] = case.path_parameters.get("user_id", 0)
    with application.app.app_context(), db.engine.connect() as connection:
        return connection.execute(text(_TRUE_WHEN_FOUND[kind]), values).first() is not None


def resolve(document: Mapping[str, Any], value: Any) -> Any:
    """What a value says, or what its `$ref` points to says."""
    while isinstance(value, Mapping) and isinstance(value.get("$ref"), str):
        target: Any = document
        for segment in value["$ref"].removeprefix("#/").split("/"):
            target = target[segment.replace("~1", "/").replace("~0", "~")]
        value = target
    return value
