"""The Java client of OpenAPI Generator: it is typed and works with the real service."""

import os
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TRANSCRIPT = (HERE / "scenario.txt").read_text()
JAKARTA_ANNOTATIONS = "/usr/share/java/jakarta-annotation-api.jar"
UTF_8 = "-Dfile.encoding=UTF-8"


@pytest.fixture(scope="module")
def client(debian, make) -> Path:
    """The folder of the generated sources."""
    debian("java")
    debian("javac")
    return make("Java") / "src" / "main" / "java" / "org" / "openapitools" / "client"


@pytest.fixture(scope="module")
def classes(client, workshop, jar) -> str:
    """A class path with the client and the scenario.

    The client uses the Jackson in the generator's jar, because Debian's lacks the module for dates.
    """
    out = workshop.folder / "classes"
    libraries = os.pathsep.join([str(jar), JAKARTA_ANNOTATIONS])
    sources = [*client.rglob("*.java"), HERE / "java" / "Scenario.java"]
    workshop.run("javac", "-encoding", "UTF-8", "-d", str(out), "-cp", libraries, *map(str, sources))
    return os.pathsep.join([str(out), libraries])


def camel_case(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def test_every_operation_has_a_method_of_its_name(client, operations):
    sources = "".join(path.read_text(encoding="utf-8") for path in (client / "api").glob("*.java"))

    methods = re.findall(r"^  public ApiResponse<.*> (\w+)WithHttpInfo\(", sources, re.MULTILINE)

    assert set(methods) == {camel_case(name) for name in operations}


def test_every_model_has_its_name(client, models):
    assert {path.stem for path in (client / "model").glob("*.java")} == {*models, "AbstractOpenApiSchema"}


def test_no_member_and_no_parameter_is_an_object(client, models):
    sources = [client / "model" / f"{name}.java" for name in models] + list((client / "api").glob("*.java"))

    loose = [
        line.strip()
        for source in sources
        for line in source.read_text(encoding="utf-8").splitlines()
        if re.search(r"\b(Object|JsonNode|Map<String, Object>)\b", line)
        and not re.search(r"boolean equals\(Object o\)|toIndentedString\(Object o\)|ObjectMapper", line)
        and not line.strip().startswith(("*", "//"))
    ]

    assert loose == []


def test_the_life_of_a_user_and_their_posts(classes, workshop, server, mock):
    said = workshop.run("java", UTF_8, "-cp", classes, "Scenario", mock)

    assert said == TRANSCRIPT


def test_the_example_of_the_guide_prints_what_the_guide_shows(client, example, server, guide):
    assert [example("Java")] == guide("The example").shown
