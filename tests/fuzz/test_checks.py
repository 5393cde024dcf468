"""The checks of Schemathesis that are on, and the checks that replace the others."""

from types import SimpleNamespace

import pytest
import schemathesis
import yaml
from schemathesis.core.failures import FailureGroup
from sqlalchemy import select

from api import tags, users
from api.database import read, write
from tests.fuzz import checks, hooks
from tests.resources import OPERATIONS, RESOURCES, ROOT, refusals_of

AUTHORED = yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text())
EVERY = sorted(schemathesis.checks.CHECKS.get_all_names())
REPLACED = {
    "positive_data_acceptance": hooks.valid_data_is_accepted,
    "ensure_resource_availability": hooks.what_was_created_is_there,
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


AUTHOR, OTHER = ("POST", "/users", {"id": 1}, 201), ("POST", "/users", {"id": 2}, 201)
POST = {"id": 1, "user_id": 1}
ROWS = {"user_id": hooks.Items("/users", frozenset()), "post_id": hooks.Items("/posts", frozenset({"user_id"}))}
COMMENTS = {**ROWS, "comment_id": hooks.Items("/comments", frozenset({"post_id"}))}


def deletes(name, ident, status=200):
    return ("DELETE", f"/{name}s/{{{name}_id}}", {"id": ident}, status)


def test_what_refers_to_what_is_in_the_contract():
    case = case_of(0, "GET", "/posts/{post_id}", {"id": 1}, 404)

    assert {name: found for name, found in hooks.items(case).items() if name in ROWS} == ROWS


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ([deletes("user", 1)], True),
        ([AUTHOR, OTHER, deletes("user", 1)], True),
        ([deletes("user", 2)], False),
        ([deletes("user", 1, 404)], False),
        ([("PUT", "/users/{user_id}", {"id": 1}, 200)], False),
        ([deletes("post", 1)], False),
        ([], False),
    ],
)
def test_a_row_may_disappear_only_with_a_row_that_it_refers_to(scenario, expected):
    assert hooks.went_with_another(history(scenario), ROWS, "post_id", POST) is expected


@pytest.mark.parametrize(("user", "expected"), [(1, True), (2, False)])
def test_a_row_may_disappear_with_the_row_that_its_parent_refers_to(user, expected):
    scenario = [AUTHOR, OTHER, ("POST", "/posts", POST, 201), deletes("user", user)]

    assert hooks.went_with_another(history(scenario), COMMENTS, "comment_id", {"id": 1, "post_id": 1}) is expected


def test_a_row_that_was_never_seen_may_have_referred_to_any():
    context = history([deletes("user", 7)])

    assert hooks.went_with_another(context, ROWS, "post_id", None)
    assert not hooks.went_with_another(history([AUTHOR]), ROWS, "post_id", None)


def history(scenario):
    """The scenario as a check of Schemathesis gets it, made from methods, paths, rows and statuses."""
    cases = [case_of(number, *step) for number, step in enumerate(scenario)]
    responses = {case.id: case.response for case in cases}
    return SimpleNamespace(
        internals=SimpleNamespace(
            find_all_cases=lambda: cases, find_response=lambda case_id: responses[case_id], find_parent=None
        )
    )


def case_of(number, method, path, row, status):
    name = path.partition("{")[2].rstrip("}")
    return SimpleNamespace(
        id=number,
        method=method,
        path=path,
        path_parameters={name: row["id"]} if name else {},
        operation=SimpleNamespace(schema=SimpleNamespace(raw_schema=AUTHORED)),
        response=SimpleNamespace(status_code=status, json=lambda: row),
    )


@pytest.fixture
def planted(app, rows, monkeypatch):
    """Replaces a handler and returns the failures of one request to the application, checked as every request is."""
    loaded = schemathesis.openapi.from_asgi("/api/openapi.json", app, config=checks.config("fuzzing"))

    def planted(module, name, replacement, path, method, **parts):
        monkeypatch.setattr(module, name, replacement)
        case = loaded[path][method].Case(**parts)
        try:
            case.call_and_validate()
        except FailureGroup as group:
            return {type(failure) for failure in group.exceptions}
        return set()

    return planted


def test_a_delete_that_deletes_nothing_is_found(planted):
    nothing = select(users._users.c.id).where(users._id_matches)

    def write_nothing(statement, parameters):
        return read(nothing, parameters)[0] if statement is users._DELETE else write(statement, parameters)

    kept = planted(tags, "write", write_nothing, "/users/{user_id}", "DELETE", path_parameters={"user_id": 1})
    gone = planted(tags, "write", write, "/users/{user_id}", "DELETE", path_parameters={"user_id": 1})

    assert (kept, gone) == ({hooks.NotDeleted}, set())


@pytest.mark.parametrize(
    ("allow", "expected"),
    [
        ("GET, HEAD, OPTIONS, POST", set()),
        ("POST,OPTIONS , GET,HEAD", set()),
        ("GET", {hooks.WrongAllow}),
        ("GET, HEAD, OPTIONS, POST, PUT", {hooks.WrongAllow}),
        (None, {hooks.WrongAllow}),
    ],
)
def test_an_allow_that_is_not_that_of_the_path_is_found(allow, expected):
    schema = {"/users": {"get": {}, "post": {}, "parameters": []}}
    case = SimpleNamespace(operation=SimpleNamespace(schema=schema, path="/users", label="PUT /users"))
    response = SimpleNamespace(status_code=405, headers={} if allow is None else {"allow": [allow]})

    found = set()
    try:
        hooks.a_405_lists_the_methods(None, response, case)
    except hooks.WrongAllow as failure:
        found = {type(failure)}

    assert found == expected


# The preconditions that were sent, status and current tag of the answer, and whether the check finds a fault.
COMPARED = [
    ({"If-Match": '"1"'}, "PUT", 412, '"2"', False),
    ({"If-Match": '"1", "2"'}, "PUT", 412, '"2"', True),
    ({"If-Match": 'W/"2"'}, "PUT", 412, '"2"', False),
    ({"If-Match": "*"}, "DELETE", 412, '"2"', True),
    ({"If-None-Match": '"2"'}, "GET", 304, '"2"', False),
    ({"if-none-match": '"1", W/"2"'}, "GET", 304, '"2"', False),
    ({"If-None-Match": "*"}, "GET", 304, '"2"', False),
    ({"If-None-Match": '"1"'}, "GET", 304, '"2"', True),
    ({}, "GET", 304, '"2"', True),
    ({"If-None-Match": '"1"'}, "GET", 200, '"2"', False),
    ({"If-None-Match": 'W/"2"'}, "GET", 200, '"2"', True),
    ({"If-None-Match": "*"}, "GET", 200, '"2"', True),
    ({"If-Match": '"1"'}, "PUT", 200, '"2"', False),  # the tag of the answer is the one after the change
    ({"If-None-Match": '"1"'}, "GET", 404, None, False),
]


@pytest.mark.parametrize(("sent", "method", "status", "tag", "is_wrong"), COMPARED)
def test_a_wrong_comparison_of_tags_is_found(sent, method, status, tag, is_wrong):
    case = SimpleNamespace(headers=sent, method=method, operation=SimpleNamespace(label=method))
    response = SimpleNamespace(status_code=status, headers={} if tag is None else {"etag": [tag]})

    found = False
    try:
        hooks.preconditions_are_compared(None, response, case)
    except hooks.WrongComparison:
        found = True

    assert found is is_wrong


@pytest.mark.parametrize(
    ("sent", "is_wrong"), [({}, False), ({"If-Match": "0"}, True), ({"if-match": '"0"'}, False), ({"X": "0"}, False)]
)
def test_a_header_that_does_not_match_its_pattern_is_no_valid_data(app, sent, is_wrong):
    loaded = schemathesis.openapi.from_asgi("/api/openapi.json", app, config=checks.config("fuzzing"))

    case = loaded["/users/{user_id}"]["DELETE"].Case(path_parameters={"user_id": 1}, headers=sent)

    assert hooks._has_a_wrong_header(case) is is_wrong
