"""The configuration of Schemathesis for this contract, used by the everyday run and by `tox -e fuzz`.

All of its checks are on except two. Each of these two is replaced by a more precise check.

- A valid request may get a 400 (a taken name, an author who does not exist, a cursor of another list), which
`positive_data_acceptance` reports as a failure; allowing the status would hide every other 400, too.
`valid_data_is_accepted` reads the `type` of the problem and asks the database whether the problem is real.
- A row is deleted with the row that it refers to, which `ensure_resource_availability` reports as a failure.
`what_was_created_is_there` knows which rows the scenario deleted.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import ensure_resource_availability, positive_data_acceptance
from sqlalchemy import exists, select

from api import db
from tests.resources import OPERATIONS, RESOURCES, Operation, Refusal, Resource, refusals_of

INVALID = "urn:problem:invalid-request"
_LOST_CURSOR = [{"in": "query", "pointer": "/cursor", "detail": "is not a cursor of this list"}]

_PHASES: dict[str, dict[str, Any]] = {
    "examples": {},
    "coverage": {"generate-duplicate-query-parameters": True},
    "fuzzing": {},
    # Without inferred links, only the links in the contract are tested.
    "stateful": {"inference": {"algorithms": []}},
}

CHECKS = {
    # Far more than any request takes on a busy machine, far less than a pattern with catastrophic backtracking takes.
    "max_response_time": 60,
    "positive_data_acceptance": {"enabled": False},
    "ensure_resource_availability": {"enabled": False},
}


def config(phase: str, max_examples: int = 1) -> SchemathesisConfig:
    """One phase, with the same cases in every run: no seed, earlier run or source code of the API affects them."""
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
    """A valid request is refused only for a reason that the contract's examples name and that the database confirms."""
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
    if application is not None:  # only in process: on a started server another worker may have changed the row since
        values = {**case.body, "id": next(iter(case.path_parameters.values()), 0)}
        refusals = [refusal for refusal in refusals_of(_operation(case)) if refusal.problem.type == kind]
        assert any(_is_true(refusal, values, application) for refusal in refusals), f"{kind} was claimed, and is not so"


@schemathesis.check
def what_was_created_is_there(ctx: Any, response: Any, case: Any) -> None:
    """A created row can be fetched, unless the scenario deleted it or a row that it refers to."""
    created = ctx.internals.find_parent(case_id=case.id)
    if response.status_code == 404 and created is not None and _operation(created).name.startswith("create_"):
        row = ctx.internals.find_response(case_id=created.id).json()
        if _went_with_another(ctx, RESOURCES[_operation(created).table], row):
            return
    ensure_resource_availability(ctx, response, case)


def _went_with_another(ctx: Any, resource: Resource, row: Mapping[str, Any] | None) -> bool:
    """Whether the scenario deleted a row that this one refers to, directly or through others.

    None stands for a row that the scenario never saw; it may have referred to any deleted row.
    """
    for column, parent in resource.parents.items():
        deleted = set(_deleted(ctx, parent))
        if (deleted if row is None else row.get(column) in deleted) or _went_with_another(
            ctx, parent, None if row is None else _seen(ctx, parent, row.get(column))
        ):
            return True
    return False


def _deleted(ctx: Any, resource: Resource) -> Iterator[int]:
    """The ids of the rows that the scenario deleted."""
    for case, response in _answered(ctx):
        if _operation(case).name == f"delete_{resource.name}" and response.status_code == 200:
            yield case.path_parameters[f"{resource.name}_id"]


def _seen(ctx: Any, resource: Resource, ident: int | None) -> Mapping[str, Any] | None:
    """The row with this id, as the scenario saw it when the row was created."""
    for case, response in _answered(ctx):
        if _operation(case).name == f"create_{resource.name}" and response.status_code == 201:
            row: Mapping[str, Any] = response.json()
            if row["id"] == ident:
                return row
    return None


def _answered(ctx: Any) -> Iterator[tuple[Any, Any]]:
    for case in ctx.internals.find_all_cases():
        response = ctx.internals.find_response(case_id=case.id)
        if response is not None:
            yield case, response


def _operation(case: Any) -> Operation:
    return OPERATIONS[case.operation.definition.raw["operationId"]]


def _documented_types(operation: Any) -> set[str]:
    document = operation.schema.raw_schema
    response = resolve(document, operation.definition.raw["responses"]["400"])
    examples = response["content"]["application/problem+json"]["examples"]
    return {resolve(document, example)["value"]["type"] for example in examples.values()}


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


def resolve(document: Mapping[str, Any], value: Any) -> Any:
    """The value, or the value that its `$ref` points to."""
    while isinstance(value, Mapping) and isinstance(value.get("$ref"), str):
        target: Any = document
        for segment in value["$ref"].removeprefix("#/").split("/"):
            target = target[segment.replace("~1", "/").replace("~0", "~")]
        value = target
    return value
