"""Contract, marshmallow schemas and the columns of the migrated database agree.

A column can store every value that a request may hold, and the response schema allows every value of a column: by
containment of JSON Schemas, with a counterexample on failure. "unknown" fails, too, unless it is waived here by name.
"""

from typing import Any

import jsonschema_rs
import pytest
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import fields
from sqlalchemy import String, Text, create_engine, inspect
from sqlalchemy.pool import StaticPool
from sqlalchemy.types import BigInteger, DateTime, Integer

from contractapp.compat.schemas import canonical, inlined
from contractapp.compile.schema import Validator
from tests.resources import CONTRACT, RESOURCES

# Identity columns count from 1 and stay far below 2^53 - 1, above which JavaScript rounds integers.
GENERATED_ID = {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}


# The columns that no response shows: the version is part of the entity tag.
HIDDEN = {"version"}

each = pytest.mark.parametrize("resource", RESOURCES.values(), ids=RESOURCES.keys())

# Questions that jsonschema-rs cannot decide, each with the reason why the answer is known.
WAIVED: dict[tuple[str, str], str] = {}


@pytest.fixture
def database(db):
    """The tables of the migrated database, as SQLAlchemy inspects them."""
    return inspect(db.engine)


def component(name):
    return CONTRACT.document["components"]["schemas"][name]


def properties(name, direction):
    """The members of a component as complete JSON Schemas, with references inlined; empty for None."""
    if name is None:
        return {}
    whole = inlined(Validator(component(name), CONTRACT.document, direction).json_schema)
    return whole["properties"]


def columns_of(database, resource):
    return {column["name"]: column for column in database.get_columns(resource.table.name)}


def generated(database, resource):
    """The columns to which the database assigns numbers."""
    return set(database.get_pk_constraint(resource.table.name)["constrained_columns"])


def nested(resource):
    """The members that contain another row."""
    return {name for name, field in resource.schema.dump_fields.items() if isinstance(field, fields.Nested)}


def column_schema(database, table, column):
    """The JSON Schema of the values that a column can store."""
    targets = {
        local: (key["referred_table"], remote)
        for key in database.get_foreign_keys(table)
        for local, remote in zip(key["constrained_columns"], key["referred_columns"], strict=True)
    }
    if column["name"] in targets:
        target, name = targets[column["name"]]
        return column_schema(database, target, next(c for c in database.get_columns(target) if c["name"] == name))
    if column["name"] in database.get_pk_constraint(table)["constrained_columns"]:
        return GENERATED_ID
    kind = column["type"]
    if isinstance(kind, Integer | BigInteger):
        schema: dict[str, Any] = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
    elif isinstance(kind, Text) or (isinstance(kind, String) and kind.length is None):
        schema = {"type": "string"}
    elif isinstance(kind, String):
        schema = {"type": "string", "maxLength": kind.length}
    elif isinstance(kind, DateTime):
        schema = {"type": "string", "format": "date-time"}
    else:
        raise AssertionError(f"{table}.{column['name']} is {kind!r}: say here what it may hold")
    return {**schema, "type": [schema["type"], "null"]} if column["nullable"] else schema


def assert_covers(name, wider, narrower):
    verdict = str(canonical(wider).covers(canonical(narrower)))
    if verdict == "unknown" and name in WAIVED:
        return
    beyond = canonical(narrower).subtract(canonical(wider)).to_json_schema()
    assert verdict == "yes", f"{name}: {verdict}; it may also be {beyond}"


@each
def test_the_response_has_the_members_of_schema_and_table(database, resource):
    contract = component(resource.response)

    assert set(contract["properties"]) == set(resource.schema.dump_fields)
    assert set(contract["properties"]) - nested(resource) == set(columns_of(database, resource)) - HIDDEN
    assert set(contract["required"]) == set(contract["properties"])


@each
def test_a_new_row_needs_just_the_columns_that_have_no_value_of_their_own(database, resource):
    needed = {
        name
        for name, column in columns_of(database, resource).items()
        if name not in generated(database, resource) and not column["nullable"] and column["default"] is None
    }

    assert set(component(resource.new)["required"]) == needed
    assert set(component(resource.new)["properties"]) == needed
    assert set(properties(resource.changes, "request")) <= needed


@each
def test_every_value_that_a_request_may_hold_fits_its_column(database, resource):
    columns = columns_of(database, resource)

    for name in (resource.new, resource.changes):
        for member, schema in properties(name, "request").items():
            assert_covers((name, member), column_schema(database, resource.table.name, columns[member]), schema)


@each
def test_the_response_allows_every_value_that_a_column_may_hold(database, resource):
    columns = columns_of(database, resource)

    for member, schema in properties(resource.response, "response").items():
        if member not in nested(resource):
            column = column_schema(database, resource.table.name, columns[member])
            assert_covers((resource.response, member), schema, column)


@each
def test_lengths_are_those_of_the_columns(database, resource):
    columns = columns_of(database, resource)
    limited = {name: column["type"].length for name, column in columns.items() if isinstance(column["type"], String)}

    for name, direction in ((resource.new, "request"), (resource.response, "response")):
        members = properties(name, direction)
        # A text column has no length limit; only the contract limits it.
        assert {m: members[m].get("maxLength") for m, length in limited.items() if length is not None} == {
            m: length for m, length in limited.items() if length is not None
        }, name


@each
def test_marshmallow_dumps_the_types_of_the_contract(resource):
    spec = APISpec("agreement", "1", "3.0.3", plugins=[MarshmallowPlugin()])
    spec.components.schema(resource.response, schema=type(resource.schema))
    shown = spec.to_dict()["components"]["schemas"][resource.response]["properties"]
    contract = properties(resource.response, "response")

    for member in set(contract) - nested(resource):
        ours = {key: value for key, value in shown[member].items() if key in {"type", "maxLength", "format"}}
        assert contract[member]["type"] == ours["type"], member
        for keyword in {"maxLength", "format"} & ours.keys():
            assert contract[member][keyword] == ours[keyword], member


@each
def test_a_nested_object_is_the_same_as_the_object_by_itself(resource):
    for name in nested(resource):
        inner = resource.schema.dump_fields[name].schema
        other = RESOURCES[inner.opts.model.__table__.name]

        assert set(inner.dump_fields) == set(component(other.response)["properties"])
        assert component(resource.response)["properties"][name] == {"$ref": f"#/components/schemas/{other.response}"}


@each
def test_every_unique_column_and_reference_of_the_database_has_its_problem(database, resource):
    """`test_contract.py` checks that each operation documents the problems that it can return."""
    table = resource.table.name
    found = [
        *(set(constraint["column_names"]) for constraint in database.get_unique_constraints(table)),
        *(set(key["constrained_columns"]) for key in database.get_foreign_keys(table)),
    ]
    refusals = [{column.name for column in refusal.columns} for refusal in resource.refusals]

    assert sorted(map(sorted, found)) == sorted(map(sorted, refusals))
    for refusal in resource.refusals:
        assert refusal.problem.pointer in {f"/{column.name}" for column in refusal.columns}


def test_every_waiver_is_of_a_member_that_is_asked_about():
    asked = {
        (name, member)
        for resource in RESOURCES.values()
        for name, direction in (
            (resource.new, "request"),
            (resource.changes, "request"),
            (resource.response, "response"),
        )
        for member in properties(name, direction)
    }

    assert set(WAIVED) <= asked


TABLES = """
CREATE TABLE users (
    id INTEGER PRIMARY KEY, username VARCHAR(80) NOT NULL, email VARCHAR(120) NOT NULL,
    UNIQUE (username), UNIQUE (email)
);
CREATE TABLE posts (
    id INTEGER PRIMARY KEY, title VARCHAR(100) NOT NULL, content TEXT NOT NULL,
    user_id INTEGER NOT NULL REFERENCES users (id)
);
"""


@pytest.fixture
def other_database():
    """A database whose tables differ in one text that is replaced by another."""
    engine = create_engine("sqlite://", poolclass=StaticPool)

    def other(old="", new=""):
        assert old in TABLES
        with engine.begin() as connection:
            for statement in TABLES.replace(old, new).split(";")[:-1]:
                connection.exec_driver_sql(statement)
        return inspect(engine)

    yield other
    engine.dispose()


USERS, POSTS = RESOURCES["users"], RESOURCES["posts"]

FITS = test_every_value_that_a_request_may_hold_fits_its_column
SHOWS = test_the_response_allows_every_value_that_a_column_may_hold
NEEDS = test_a_new_row_needs_just_the_columns_that_have_no_value_of_their_own
LENGTHS = test_lengths_are_those_of_the_columns
MEMBERS = test_the_response_has_the_members_of_schema_and_table
PROBLEMS = test_every_unique_column_and_reference_of_the_database_has_its_problem


@pytest.mark.parametrize(
    ("old", "new", "check", "resource"),
    [
        pytest.param("username VARCHAR(80)", "username INTEGER", FITS, USERS, id="a type"),
        pytest.param("content TEXT", "content BLOB", FITS, POSTS, id="a type that is not known here"),
        pytest.param("VARCHAR(80)", "VARCHAR(79)", FITS, USERS, id="a shorter column"),
        pytest.param("VARCHAR(80)", "VARCHAR(81)", SHOWS, USERS, id="a longer column"),
        pytest.param("VARCHAR(100)", "VARCHAR(101)", LENGTHS, POSTS, id="a length"),
        pytest.param("email VARCHAR(120) NOT NULL", "email VARCHAR(120)", SHOWS, USERS, id="null in a response"),
        pytest.param("email VARCHAR(120) NOT NULL", "email VARCHAR(120)", NEEDS, USERS, id="a column no longer needed"),
        pytest.param("content TEXT", "summary TEXT", MEMBERS, POSTS, id="a column"),
        pytest.param(", UNIQUE (email)", "", PROBLEMS, USERS, id="uniqueness"),
        pytest.param(" REFERENCES users (id)", "", PROBLEMS, POSTS, id="a reference"),
        pytest.param("REFERENCES users (id)", ", UNIQUE (title)", PROBLEMS, POSTS, id="uniqueness without a problem"),
    ],
)
def test_a_difference_of_the_tables_is_found(other_database, old, new, check, resource):
    database = other_database(old, new)

    with pytest.raises(AssertionError):
        check(database, resource)


def test_tables_as_they_are_pass(other_database):
    database = other_database()

    for resource in (USERS, POSTS):
        for check in (FITS, SHOWS, NEEDS, LENGTHS, MEMBERS, PROBLEMS):
            check(database, resource)


def test_a_response_stricter_than_its_column_is_found():
    with pytest.raises(AssertionError, match="no; it may also be"):
        assert_covers(("User", "username"), {"type": "string", "maxLength": 40}, {"type": "string", "maxLength": 80})


def test_an_undecided_verdict_is_a_failure():
    assert (
        jsonschema_rs.canonicalize({"type": "string", "pattern": "^a*$"}).covers(
            jsonschema_rs.canonicalize({"type": "string", "pattern": "^a{0,3}$"})
        )
        != "yes"
    )

    with pytest.raises(AssertionError, match="unknown"):
        assert_covers(("x", "y"), {"type": "string", "pattern": "^a*$"}, {"type": "string", "pattern": "^b*$"})
