"""The client of openapi-python-client: it is complete and typed, and works with the real service."""

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCENARIO = (HERE / "python" / "scenario.py").read_text()
TRANSCRIPT = (HERE / "scenario.txt").read_text()
PACKAGE = "users_and_posts_api_client"

# Replacements that turn the asynchronous program into the synchronous one.
SYNCHRONOUS = [
    (r"\basyncio\.run\((.*)\)", r"\1"),
    (r"\basyncio_detailed\b", "sync_detailed"),
    (r"\.asyncio\(", ".sync("),
    (r"^import asyncio\n", ""),
    (r"\b(async|await) ", ""),
]


@pytest.fixture(scope="module")
def client(make) -> Path:
    """The folder of the generated package."""
    return make("Python")


@pytest.fixture
def package(client, monkeypatch):
    monkeypatch.syspath_prepend(str(client))
    return importlib.import_module(PACKAGE)


def synchronous(program: str) -> str:
    for pattern, replacement in SYNCHRONOUS:
        program = re.sub(pattern, replacement, program, flags=re.MULTILINE)
    assert "await" not in program
    return program


def test_every_operation_has_a_module_of_its_name(client, operations):
    modules = (client / PACKAGE / "api").glob("*/[a-z]*.py")

    assert sorted(module.stem for module in modules) == sorted(operations)


def test_every_model_has_its_name(package, models, contract):
    names = set(importlib.import_module(f"{PACKAGE}.models").__all__)

    assert names - models == enumerations(contract).keys()
    assert models - names == set()


def test_problem_types_have_names_that_can_be_read(package, contract):
    models = importlib.import_module(f"{PACKAGE}.models")
    types = {name: schema for name, schema in enumerations(contract).items() if name.endswith("ProblemType")}

    found = {name: {member.name: member.value for member in getattr(models, name)} for name in types}

    assert found == {
        name: dict(zip(schema["x-enum-varnames"], schema["enum"], strict=True)) for name, schema in types.items()
    }
    assert found["ProblemType"] == {"ABOUT_BLANK": "about:blank"}
    assert found["PostRefusedProblemType"] == {
        "INVALID_REQUEST": "urn:problem:invalid-request",
        "UNKNOWN_USER": "urn:problem:unknown-user",
    }


def enumerations(contract):
    """The members that have a list of values, by the name of their class."""
    return {
        f"{name}{member.title()}": schema
        for name, component in contract["components"]["schemas"].items()
        for member, schema in component.get("properties", {}).items()
        if "enum" in schema
    }


@pytest.mark.parametrize("kind", ["asynchronous", "synchronous"])
def test_the_life_of_a_user_and_their_posts(kind, client, workshop, server, mock, tmp_path):
    program = tmp_path / "scenario.py"
    program.write_text(SCENARIO if kind == "asynchronous" else synchronous(SCENARIO), encoding="utf-8")

    said = workshop.run(sys.executable, str(program), server, mock, PYTHONPATH=str(client), PYTHONIOENCODING="utf-8")

    assert said == TRANSCRIPT


@pytest.mark.parametrize("kind", ["asynchronous", "synchronous"])
def test_mypy_finds_nothing_in_the_program(kind, client, workshop, tmp_path):
    program = tmp_path / "scenario.py"
    program.write_text(SCENARIO if kind == "asynchronous" else synchronous(SCENARIO), encoding="utf-8")

    said = workshop.run(sys.executable, "-m", "mypy", "--strict", str(program), cwd=tmp_path, MYPYPATH=str(client))

    assert said == "Success: no issues found in 1 source file\n"


def test_no_field_no_argument_and_no_answer_is_any(package, operations, models):
    classes = [getattr(importlib.import_module(f"{PACKAGE}.models"), name) for name in models]
    functions = [
        getattr(importlib.import_module(f"{PACKAGE}.api.{operation['tags'][0]}.{name}"), function)
        for name, operation in operations.items()
        for function in ("sync", "sync_detailed", "asyncio", "asyncio_detailed")
    ]

    hints = [hint for item in [*classes, *functions] for hint in inspect.get_annotations(item).values()]
    vague = [hint for hint in map(str, hints) if re.search(r"\b(Any|object|dict)\b", hint)]

    # The generator types an answer without a body, a 304, as Any: in each of the four functions of its operation.
    assert len(vague) == 4 * sum("304" in operation["responses"] for operation in operations.values())
    assert len(hints) > 100


def test_every_documented_answer_is_a_value_of_its_type(package, operations, contract, mock):
    models = importlib.import_module(f"{PACKAGE}.models")
    seen, documented = {}, {}

    for name, operation in operations.items():
        module = importlib.import_module(f"{PACKAGE}.api.{operation['tags'][0]}.{name}")
        path = [1 for _ in re.findall(r"{\w+}", operation["path"])]
        body = {"body": body_shown(models, operation)} if "requestBody" in operation else {}
        for status in operation["responses"].keys() - {"304"}:  # a 304 has no body
            with package.Client(base_url=mock, headers={"Prefer": f"code={status}"}) as client:
                response = module.sync_detailed(*path, client=client, **body)
            found = response.parsed
            seen[name, status] = (str(response.status_code.value), type(found[0] if type(found) is list else found))
            documented[name, status] = (status, getattr(models, model_of(contract, operation, status)))

    assert seen == documented


def body_shown(models, operation):
    """The first body that the contract shows, as the operation's model."""
    content = operation["requestBody"]["content"]["application/json"]
    model = getattr(models, content["schema"]["$ref"].rpartition("/")[2])
    return model.from_dict(next(iter(content["examples"].values()))["value"])


def model_of(contract, operation, status) -> str:
    response = operation["responses"][status]
    if "$ref" in response:
        response = contract["components"]["responses"][response["$ref"].rpartition("/")[2]]
    (content,) = response["content"].values()
    schema = content["schema"]
    return schema.get("items", schema)["$ref"].rpartition("/")[2]


def test_the_example_of_the_guide_prints_what_the_guide_shows(example, server, guide):
    assert [example("Python")] == guide("The example").shown
