"""Checks of Schemathesis for this contract. The first two replace two that `schemathesis.toml` turns off.

They read the contract that the service publishes and import nothing of this project, so Schemathesis needs no other
package to run them.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.specs.openapi.checks import ensure_resource_availability, positive_data_acceptance

INVALID = "urn:problem:invalid-request"
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
_LOST_CURSOR = [{"in": "query", "pointer": "/cursor", "detail": "is not a cursor of this list"}]


@schemathesis.check
def valid_data_is_accepted(ctx: Any, response: Any, case: Any) -> None:
    """A valid request is refused only for what is stored: a taken name, an author who does not exist, a lost cursor.

    `positive_data_acceptance` reports these refusals, too. To allow their status there would hide every other 400.
    """
    if _has_a_wrong_header(case) or (_is_positive(case) and refusal_type(response, case) is not None):
        return
    if _is_positive(case) and response.status_code == 400 and case.query.get("cursor") is not None:
        problem = response.json()
        if problem["type"] == INVALID and problem["errors"] == _LOST_CURSOR:
            return
    positive_data_acceptance(ctx, response, case)


@schemathesis.check
def what_was_created_is_there(ctx: Any, response: Any, case: Any) -> None:
    """A created row can be fetched, unless the scenario deleted it or a row that it refers to.

    `ensure_resource_availability` does not know that a row is deleted together with the row that it refers to.
    """
    created = ctx.internals.find_parent(case_id=case.id)
    if response.status_code == 404 and created is not None and created.method.upper() == "POST":
        row = ctx.internals.find_response(case_id=created.id).json()
        if case.path_parameters and went_with_another(ctx, items(case), list(case.path_parameters)[-1], row):
            return
    ensure_resource_availability(ctx, response, case)


class NotDeleted(Failure):
    """A row that was deleted is still there."""


@schemathesis.check
def what_was_deleted_is_gone(ctx: Any, response: Any, case: Any) -> None:
    """GET answers 404 after a DELETE that succeeded. The GET is sent here: a scenario seldom sends it by chance."""
    methods = case.operation.schema[case.operation.path]
    if case.method.upper() != "DELETE" or response.status_code >= 300 or "GET" not in methods:
        return
    again = methods["GET"].Case(path_parameters=case.path_parameters)
    answer = again.call(**(ctx.internals.transport_kwargs or {}))
    ctx.internals.record_case(parent_id=case.id, case=again)
    ctx.internals.record_response(case_id=again.id, response=answer)
    if answer.status_code != 404:
        raise NotDeleted(
            operation=case.operation.label,
            title="What was deleted is still there",
            message=f"GET of the same path then answered {answer.status_code}, not 404.",
        )


class WrongComparison(Failure):
    """A precondition holds and was refused, or does not hold and was ignored (RFC 9110, section 13)."""


@schemathesis.check
def preconditions_are_compared(_ctx: Any, response: Any, case: Any) -> None:
    """The `ETag` of the answer shows whether a 412, a 304 or the 200 of a GET is right."""
    sent = {name.lower(): value for name, value in (case.headers or {}).items()}
    current = next(iter(response.headers.get("etag", ())), None)
    if current is None:
        return
    strong, weak = (_tags(sent.get(name)) for name in ("if-match", "if-none-match"))
    is_known = "*" in weak or current in {tag.removeprefix("W/") for tag in weak}
    wrong = {
        412: "*" in strong or current in strong,
        304: not is_known,
        200: is_known and case.method.upper() == "GET",
    }
    if wrong.get(response.status_code):
        raise WrongComparison(
            operation=case.operation.label,
            title="A precondition is compared wrongly",
            message=f"The answer is {response.status_code}, the current tag is {current}.",
        )


def _tags(value: str | None) -> set[str]:
    """The entity tags in the value of a header, and `*`."""
    return set(re.findall(r'(?:W/)?"[^"]*"|^\*$', value or ""))


class WrongAllow(Failure):
    """The header `Allow` of a 405 does not list the methods of the path."""


@schemathesis.check
def a_405_lists_the_methods(_ctx: Any, response: Any, case: Any) -> None:
    """`allow_header_conformance` compares `Allow` with the contract only in the response to OPTIONS."""
    if response.status_code != 405:
        return
    listed = {method.strip() for value in response.headers.get("allow", ()) for method in value.split(",")}
    methods = {method.upper() for method in case.operation.schema[case.operation.path]} & _METHODS
    expected = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    if listed != expected:
        raise WrongAllow(
            operation=case.operation.label,
            title="Allow does not list the methods of the path",
            message=f"Allow: {', '.join(sorted(listed))}\nThe path has: {', '.join(sorted(expected))}",
        )


def refusal_type(response: Any, case: Any) -> str | None:
    """The type of the problem, if the contract documents it for this status as a refusal because of what is stored."""
    if not 400 <= response.status_code < 500:
        return None
    document, responses = case.operation.schema.raw_schema, case.operation.definition.raw["responses"]
    content = resolve(document, responses.get(str(response.status_code), {})).get("content", {})
    examples = content.get("application/problem+json", {}).get("examples", {})
    documented = {resolve(document, example)["value"]["type"] for example in examples.values()}
    kind = response.json().get("type") if documented else None
    return kind if kind in documented - {INVALID, "about:blank"} else None


class Items(NamedTuple):
    """What the contract says about the rows of a path with a parameter, `/posts/{post_id}`."""

    collection: str
    """The path that creates them, `/posts`."""
    references: frozenset[str]
    """The members that refer to another row: those with the name of another path parameter, `user_id`."""


def items(case: Any) -> dict[str, Items]:
    """The rows that the contract has, by the name of the path parameter that identifies one."""
    document = case.operation.schema.raw_schema
    paths = {path.rpartition("/{")[2].rstrip("}"): path for path in document["paths"] if path.endswith("}")}
    return {
        name: Items(path.rpartition("/")[0], frozenset(_members(document, path) & (paths.keys() - {name})))
        for name, path in paths.items()
    }


def _members(document: Mapping[str, Any], path: str) -> set[str]:
    """The members of the JSON object that GET returns."""
    response = resolve(document, document["paths"][path].get("get", {}).get("responses", {}).get("200", {}))
    schema = resolve(document, response.get("content", {}).get("application/json", {}).get("schema", {}))
    return set(schema.get("properties", {}))


def went_with_another(ctx: Any, rows: Mapping[str, Items], name: str, row: Mapping[str, Any] | None) -> bool:
    """Whether the scenario deleted a row that this one refers to, directly or through others.

    None stands for a row that the scenario never saw; it may have referred to any deleted row.
    """
    for member in rows[name].references:
        deleted = set(_deleted(ctx, member))
        if (deleted if row is None else row.get(member) in deleted) or went_with_another(
            ctx, rows, member, None if row is None else _seen(ctx, rows[member], row.get(member))
        ):
            return True
    return False


def _deleted(ctx: Any, name: str) -> Iterator[Any]:
    """The ids of the rows that the scenario deleted."""
    for case, response in _answered(ctx):
        if case.method.upper() == "DELETE" and response.status_code == 200 and name in case.path_parameters:
            yield case.path_parameters[name]


def _seen(ctx: Any, found: Items, ident: Any) -> Mapping[str, Any] | None:
    """The row with this id, as the scenario saw it when the row was created."""
    for case, response in _answered(ctx):
        if case.method.upper() == "POST" and case.path == found.collection and response.status_code == 201:
            row: Mapping[str, Any] = response.json()
            if row["id"] == ident:
                return row
    return None


def _answered(ctx: Any) -> Iterator[tuple[Any, Any]]:
    for case in ctx.internals.find_all_cases():
        response = ctx.internals.find_response(case_id=case.id)
        if response is not None:
            yield case, response


def _is_positive(case: Any) -> bool:
    return case.meta is not None and bool(case.meta.generation.mode.is_positive)


def _has_a_wrong_header(case: Any) -> bool:
    """Whether a header does not match its pattern. Schemathesis 4.32 sends it in positive cases, too."""
    document = case.operation.schema.raw_schema
    parameters = [resolve(document, one) for one in case.operation.definition.raw.get("parameters", ())]
    sent = {name.lower(): value for name, value in (case.headers or {}).items()}
    return any(
        parameter["name"].lower() in sent
        and not re.fullmatch(
            resolve(document, parameter["schema"]).get("pattern", ".*"), sent[parameter["name"].lower()]
        )
        for parameter in parameters
        if parameter["in"] == "header"
    )


def resolve(document: Mapping[str, Any], value: Any) -> Any:
    """The value, or the value that its `$ref` points to."""
    while isinstance(value, Mapping) and isinstance(value.get("$ref"), str):
        target: Any = document
        for segment in value["$ref"].removeprefix("#/").split("/"):
            target = target[segment.replace("~1", "/").replace("~0", "~")]
        value = target
    return value
