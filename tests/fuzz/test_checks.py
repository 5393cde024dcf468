"""The checks that are on, and ours in the place of those that are off."""

from types import SimpleNamespace

import pytest
import schemathesis

from tests.fuzz import checks

EVERY = sorted(schemathesis.checks.CHECKS.get_all_names())
REPLACED = {
    "positive_data_acceptance": checks.valid_data_is_accepted,
    "ensure_resource_availability": checks.what_was_created_is_there,
}


@pytest.mark.parametrize("phase", ["examples", "coverage", "fuzzing", "stateful"])
def test_every_check_is_on_but_those_that_are_replaced(phase):
    asked = checks.config(phase).projects.default.checks_config_for(phase=phase)

    assert {name for name in EVERY if not asked.get_by_name(name=name).enabled} == REPLACED.keys()
    assert asked.max_response_time.limit == 10


def test_each_replaced_check_has_one_of_ours_in_its_place():
    assert {function.__name__ for function in REPLACED.values()} <= set(EVERY)


@pytest.mark.parametrize("kind", checks._TRUE_WHEN_FOUND)
def test_what_a_refusal_claims_is_looked_up(kind, app, make_user):
    """A valid request that is refused without a reason is found, for each reason there is."""
    user = make_user()
    other = {"username": "other", "email": "other@example.com"}
    true = {**user, "user_id": 999}
    false = {**other, "user_id": user["id"]}

    assert checks._is_true(kind, SimpleNamespace(body=true, path_parameters={}), app)
    assert not checks._is_true(kind, SimpleNamespace(body=false, path_parameters={}), app)
