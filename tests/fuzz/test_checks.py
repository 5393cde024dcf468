"""The checks of Schemathesis that are on, and the checks that replace the others."""

from types import SimpleNamespace

import pytest
import schemathesis

from tests.fuzz import checks
from tests.resources import OPERATIONS, RESOURCES, refusals_of

EVERY = sorted(schemathesis.checks.CHECKS.get_all_names())
REPLACED = {
    "positive_data_acceptance": checks.valid_data_is_accepted,
    "ensure_resource_availability": checks.what_was_created_is_there,
}
REFUSALS = [(operation, refusal) for operation in OPERATIONS.values() for refusal in refusals_of(operation)]


@pytest.mark.parametrize("phase", ["examples", "coverage", "fuzzing", "stateful"])
def test_every_check_is_on_but_those_that_are_replaced(phase):
    asked = checks.config(phase).projects.default.checks_config_for(phase=phase)

    assert {name for name in EVERY if not asked.get_by_name(name=name).enabled} == REPLACED.keys()
    assert asked.max_response_time.limit == 60


def test_each_check_that_is_off_has_a_replacement():
    assert {function.__name__ for function in REPLACED.values()} <= set(EVERY)


@pytest.mark.parametrize(("operation", "refusal"), REFUSALS, ids=lambda value: getattr(value, "name", None) or "")
def test_the_claim_of_a_refusal_is_verified(operation, refusal, app, rows):
    """For each reason of a refusal: a valid request that is refused although the reason does not apply is found."""
    stored, shown = rows[operation.name.partition("_")[2]], next(iter(operation.bodies.values()))
    names = [column.name for column in refusal.columns]
    if refusal.targets:
        true, false = dict.fromkeys(names, 999), dict.fromkeys(names, 1)
    else:
        true, false = {name: stored[name] for name in names}, {name: shown[name] for name in names}

    assert checks._is_true(refusal, {**shown, **true}, app)
    assert not checks._is_true(refusal, {**shown, **false}, app)
    assert not checks._is_true(refusal, {}, app)


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=RESOURCES.keys())
def test_a_row_does_not_conflict_with_itself(resource, app, rows):
    for refusal in resource.refusals:
        if not refusal.targets:
            assert not checks._is_true(refusal, rows[resource.name], app)


AUTHOR, OTHER = ("create_user", {"id": 1}, 201), ("create_user", {"id": 2}, 201)
POST = {"id": 1, "user_id": 1}


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ([("delete_user", {"id": 1}, 200)], True),
        ([AUTHOR, OTHER, ("delete_user", {"id": 1}, 200)], True),
        ([("delete_user", {"id": 2}, 200)], False),
        ([("delete_user", {"id": 1}, 404)], False),
        ([("update_user", {"id": 1}, 200)], False),
        ([], False),
    ],
)
def test_a_row_may_disappear_only_with_a_row_that_it_refers_to(scenario, expected):
    assert checks._went_with_another(history(scenario), RESOURCES["posts"], POST) is expected


def test_a_row_that_was_never_seen_may_have_referred_to_any():
    context = history([("delete_user", {"id": 7}, 200)])

    assert checks._went_with_another(context, RESOURCES["posts"], None)
    assert not checks._went_with_another(history([AUTHOR]), RESOURCES["posts"], None)


def history(scenario):
    """The scenario as a check of Schemathesis gets it, made from operations, each with a row and a status."""
    cases = [case_of(number, *step) for number, step in enumerate(scenario)]
    responses = {case.id: case.response for case in cases}
    return SimpleNamespace(
        internals=SimpleNamespace(
            find_all_cases=lambda: cases, find_response=lambda case_id: responses[case_id], find_parent=None
        )
    )


def case_of(number, name, row, status):
    return SimpleNamespace(
        id=number,
        operation=SimpleNamespace(definition=SimpleNamespace(raw={"operationId": name})),
        path_parameters={f"{name.partition('_')[2]}_id": row["id"]},
        response=SimpleNamespace(status_code=status, json=lambda: row),
    )
