"""The Go client of OpenAPI Generator: it needs only the standard library and works with the real service."""

import re
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TRANSCRIPT = (HERE / "scenario.txt").read_text()

# In Go these models would have the name of a function; docs/clients.md says why they are renamed.
RENAMED = {"NewUser": "UserInput", "NewPost": "PostInput"}


@pytest.fixture(scope="module")
def client(debian, make) -> Path:
    """The folder of the generated module."""
    debian("go")
    return make("Go")


@pytest.fixture
def caches(workshop) -> dict[str, str]:
    """Variables with which go downloads no module and leaves nothing outside the workshop."""
    return {"GOPATH": f"{workshop.folder}/go", "GOCACHE": f"{workshop.folder}/go/build", "GOPROXY": "off"}


@pytest.fixture
def go(client, workshop, caches):
    """Runs go in the module."""
    return lambda *command: workshop.run("go", *command, cwd=client, **caches)


def camel_case(name: str) -> str:
    return "".join(word.title() for word in name.split("_"))


def test_every_operation_has_a_method_of_its_name(client, operations):
    sources = "".join(path.read_text(encoding="utf-8") for path in client.glob("api_*.go"))

    methods = re.findall(r"^func \(a \*\w+Service\) (\w+)Execute\(", sources, re.MULTILINE)

    assert sorted(methods) == sorted(camel_case(name) for name in operations)


def test_every_model_has_its_name(client, models):
    sources = "".join(path.read_text(encoding="utf-8") for path in client.glob("model_*.go"))

    types = re.findall(r"^type ([A-Z]\w+) struct", sources, re.MULTILINE)

    assert {name for name in types if not name.startswith("Nullable")} == {RENAMED.get(name, name) for name in models}


def test_no_field_is_an_empty_interface(client):
    sources = "".join(path.read_text(encoding="utf-8") for path in client.glob("model_*.go"))

    fields = re.findall(r"^\t\w+ (\S+) `json:", sources, re.MULTILINE)

    assert set(fields) == {"int64", "int32", "string", "*string", "User", "[]FieldError"}


def test_every_argument_and_every_answer_has_the_contract_s_type(client):
    sources = "".join(path.read_text(encoding="utf-8") for path in client.glob("api_*.go"))

    arguments = re.findall(r"^func \(r \w+\) \w+\(\w+ (\S+)\)", sources, re.MULTILINE)
    answers = re.findall(r"^func \(r \w+\) Execute\(\) \((\S+), \*http\.Response, error\)", sources, re.MULTILINE)

    assert set(arguments) == {"UserInput", "UserChanges", "PostInput", "PostChanges", "int32", "int64", "string"}
    assert set(answers) == {"*User", "[]User", "*Post", "[]Post", "*Message", "*Health"}


def test_only_the_standard_library_is_needed(go):
    packages = go("list", "-deps", "-test", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./...")

    assert {package.partition("/usersposts")[0] for package in packages.split()} == {"example.com/you"}


def test_the_life_of_a_user_and_their_posts(client, go, server, mock):
    (client / "scenario").mkdir()
    shutil.copy(HERE / "go" / "main.go", client / "scenario")

    said = go("run", "./scenario", mock)

    assert said == TRANSCRIPT


def test_the_example_of_the_guide_prints_what_the_guide_shows(client, caches, example, server, guide):
    assert [example("Go", **caches)] == guide("The example").shown
