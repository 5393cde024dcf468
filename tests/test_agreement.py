"""Contract, marshmallow schemas and the columns of the migrated database agree.

What a request may hold fits its column; what a column may hold, the response schema allows: by containment of JSON
Schemas, with a counterexample where not. A verdict of "unknown" fails too, unless it is waived here by name.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs
import pytest
import yaml
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from sqlalchemy import String, Text, create_engine, inspect
from sqlalchemy.pool import StaticPool
from sqlalchemy.types import BigInteger, Integer

from api.models import EmailTaken, UnknownUser, UsernameTaken
from api.schemas import PostSchema, UserSchema
from contractapp.compat import canonical, inlined
from contractapp.compile.schema import Validator

ROOT = Path(__file__).parent.parent
CONTRACT = yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text())

# Identity columns count up from 1 and never come near 2^53 - 1, above which JavaScript rounds.
GENERATED_ID = {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}


class Resource(NamedTuple):
    table: str
    schema: type
    response: str
    new: str
    changes: str
    nested: frozenset[str]


USERS = Resource("users", UserSchema, "User", "NewUser", "UserChanges", frozenset())
POSTS = Resource("posts", PostSchema, "Post", "NewPost", "PostChanges", frozenset({"author"}))
RESOURCES = [USERS, POSTS]

REFUSALS = {
    ("users", "username"): UsernameTaken,
    ("users", "email"): EmailTaken,
    ("posts", "user_id"): UnknownUser,
}

# Verdicts that jsonschema-rs leaves open, each with the reason why it is known all the same.
WAIVED: dict[tuple[str, str], str] = {}


@pytest.fixture
def database(db):
    """What the database itself says of its tables, once migrated."""
    return inspect(db.engine)


def component(name):
    return CONTRACT["components"]["schemas"][name]


def properties(name, direction):
    """The members of a component as JSON Schemas of their own, references in place."""
    whole = inlined(Validator(component(name), CONTRACT, direction).json_schema)
    return whole["properties"]


def column_schema(database, table, column):
    """The JSON Schema of what a column may hold."""
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
    else:
        raise AssertionError(f"{table}.{column['name']} is {kind!r}: say here what it may hold")
    return {**schema, "type": [schema["type"], "null"]} if column["nullable"] else schema


def assert_covers(name, wider, narrower):
    verdict = str(canonical(wider).covers(canonical(narrower)))
    if verdict == "unknown" and name in WAIVED:
        return
    beyond = canonical(narrower).subtract(canonical(wider)).to_json_schema()
    assert verdict == "yes", f"{name}: {verdict}; it may also be {beyond}"


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.table)
def test_the_response_has_the_members_of_schema_and_table(database, resource):
    contract = component(resource.response)
    columns = {column["name"] for column in database.get_columns(resource.table)}

    assert set(contract["properties"]) == set(resource.schema().dump_fields)
    assert set(contract["properties"]) - resource.nested == columns
    assert set(contract["required"]) == set(contract["properties"])


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.table)
def test_a_new_row_needs_just_the_columns_that_have_no_value_of_their_own(database, resource):
    generated = set(database.get_pk_constraint(resource.table)["constrained_columns"])
    needed = {
        column["name"]
        for column in database.get_columns(resource.table)
        if column["name"] not in generated and not column["nullable"] and column["default"] is None
    }

    assert set(component(resource.new)["required"]) == needed
    assert set(component(resource.new)["properties"]) == needed
    assert set(component(resource.changes)["properties"]) <= needed


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.table)
def test_what_a_request_may_hold_fits_its_column(database, resource):
    columns = {column["name"]: column for column in database.get_columns(resource.table)}

    for name in (resource.new, resource.changes):
        for member, schema in properties(name, "request").items():
            assert_covers((name, member), column_schema(database, resource.table, columns[member]), schema)


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.table)
def test_what_a_column_may_hold_the_response_allows(database, resource):
    columns = {column["name"]: column for column in database.get_columns(resource.table)}

    for member, schema in properties(resource.response, "response").items():
        if member not in resource.nested:
            assert_covers((resource.response, member), schema, column_schema(database, resource.table, columns[member]))


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.table)
def test_lengths_are_those_of_the_columns(database, resource):
    lengths = {
        column["name"]: getattr(column["type"], "length", None) for column in database.get_columns(resource.table)
    }
    limited = {name: length for name, length in lengths.items() if length is not None}

    for name, direction in ((resource.new, "request"), (resource.response, "response")):
        members = properties(name, direction)
        assert {m: members[m].get("maxLength") for m in limited} == limited, name


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.table)
def test_what_marshmallow_shows_is_of_the_type_that_the_contract_says(resource):
    spec = APISpec("agreement", "1", "3.0.3", plugins=[MarshmallowPlugin()])
    spec.components.schema(resource.response, schema=resource.schema)
    shown = spec.to_dict()["components"]["schemas"][resource.response]["properties"]
    contract = properties(resource.response, "response")

    for member in set(contract) - resource.nested:
        ours = {key: value for key, value in shown[member].items() if key in {"type", "maxLength"}}
        assert contract[member]["type"] == ours["type"], member
        if "maxLength" in ours:
            assert contract[member]["maxLength"] == ours["maxLength"], member


def test_the_nested_author_is_a_user():
    author = PostSchema().dump_fields["author"].schema

    assert set(author.dump_fields) == set(component("User")["properties"])
    assert component("Post")["properties"]["author"] == {"$ref": "#/components/schemas/User"}


def test_every_unique_column_and_reference_has_its_problem_in_the_contract(database):
    found = {
        (table, column)
        for table in ("users", "posts")
        for constraint in database.get_unique_constraints(table)
        for column in constraint["column_names"]
    } | {
        (table, column)
        for table in ("users", "posts")
        for key in database.get_foreign_keys(table)
        for column in key["constrained_columns"]
    }
    documented = set(component("BadRequestProblem")["properties"]["type"]["enum"])

    assert found == set(REFUSALS)
    assert {problem.type for problem in REFUSALS.values()} == documented - {"urn:problem:invalid-request"}


def test_every_waiver_is_of_a_member_that_is_asked_about():
    asked = {
        (name, member)
        for resource in RESOURCES
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
    """What a database says whose tables differ from those above by one text for another."""
    engine = create_engine("sqlite://", poolclass=StaticPool)

    def other(old="", new=""):
        assert old in TABLES
        with engine.begin() as connection:
            for statement in TABLES.replace(old, new).split(";")[:-1]:
                connection.exec_driver_sql(statement)
        return inspect(engine)

    yield other
    engine.dispose()


FITS = test_what_a_request_may_hold_fits_its_column
SHOWS = test_what_a_column_may_hold_the_response_allows
NEEDS = test_a_new_row_needs_just_the_columns_that_have_no_value_of_their_own
LENGTHS = test_lengths_are_those_of_the_columns
MEMBERS = test_the_response_has_the_members_of_schema_and_table
PROBLEMS = test_every_unique_column_and_reference_has_its_problem_in_the_contract


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
        pytest.param(", UNIQUE (email)", "", PROBLEMS, None, id="uniqueness"),
        pytest.param(" REFERENCES users (id)", "", PROBLEMS, None, id="a reference"),
        pytest.param("REFERENCES users (id)", ", UNIQUE (title)", PROBLEMS, None, id="uniqueness without a problem"),
    ],
)
def test_a_difference_of_the_tables_is_found(other_database, old, new, check, resource):
    database = other_database(old, new)

    with pytest.raises(AssertionError):
        check(database, resource) if resource else check(database)


def test_tables_as_they_are_pass(other_database):
    database = other_database()

    for resource in RESOURCES:
        for check in (FITS, SHOWS, NEEDS, LENGTHS, MEMBERS):
            check(database, resource)
    PROBLEMS(database)


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
