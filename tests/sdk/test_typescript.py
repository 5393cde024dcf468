"""The types of openapi-typescript, used with openapi-fetch: they are strict and work with the real service."""

import re
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TRANSCRIPT = (HERE / "scenario.txt").read_text()


@pytest.fixture(scope="module")
def client(debian, make, guide) -> Path:
    """The folder of the generated types, with the tsconfig of docs/clients.md."""
    debian("npm")
    folder = make("TypeScript")
    (folder / "tsconfig.json").write_text(guide("TypeScript").files["clients/typescript/tsconfig.json"])
    return folder


@pytest.fixture(scope="module")
def compiled(client, workshop) -> Path:
    """The program, compiled strictly."""
    shutil.copy(HERE / "typescript" / "scenario.ts", client)
    workshop.run("npx", "tsc", cwd=client)
    return client / "out" / "scenario.js"


def test_every_operation_has_its_name(client, operations):
    interface = (client / "schema.d.ts").read_text().split("export interface operations {\n", 1)[1]

    assert re.findall(r"^ {4}(\w+): {$", interface, re.MULTILINE) == list(operations)


def test_every_model_has_its_name(client, contract):
    schemas = (client / "schema.d.ts").read_text().split("    schemas: {\n", 1)[1].split("\n    };\n", 1)[0]

    assert re.findall(r"^ {8}(\w+): ", schemas, re.MULTILINE) == list(contract["components"]["schemas"])


def test_nothing_but_undocumented_headers_is_any_or_unknown(client):
    lines = (client / "schema.d.ts").read_text().splitlines()

    loose = {line.strip() for line in lines if re.search(r"\b(any|unknown|object)\b(?=;|\[|\)| \|)", line)}

    assert loose == {"[name: string]: unknown;"}


def test_the_life_of_a_user_and_their_posts(compiled, workshop, server, mock):
    said = workshop.run("node", str(compiled), server, mock)

    assert said == TRANSCRIPT


def test_mistakes_do_not_compile(client, workshop):
    mistakes = {
        'await client.GET("/user")': "TS2554",
        'await client.POST("/users", { body: { username: "ada" } })': "TS2322",
        'await client.GET("/users/{user_id}", { params: { path: { user_id: "1" } } })': "TS2322",
        '(await client.GET("/health/live")).data?.status === "well"': "TS2367",
        '(await client.GET("/users")).data?.[0].name': "TS2339",
    }
    (client / "mistakes.ts").write_text(
        'import createClient from "openapi-fetch";\nimport type { paths } from "./schema.js";\n'
        "const client = createClient<paths>();\n" + "".join(f"{mistake};\n" for mistake in mistakes)
    )

    with pytest.raises(AssertionError) as refusal:
        workshop.run(
            "npx",
            "tsc",
            "--strict",
            "--noEmit",
            "--module",
            "nodenext",
            "--target",
            "es2022",
            "mistakes.ts",
            cwd=client,
        )

    (client / "mistakes.ts").unlink()  # otherwise the project would compile it
    found = re.findall(r"^mistakes\.ts\((\d+),\d+\): error (TS\d+)", str(refusal.value), re.MULTILINE)
    assert found == [(str(line), code) for line, code in enumerate(mistakes.values(), start=4)]


def test_the_example_of_the_guide_prints_what_the_guide_shows(client, example, server, guide):
    assert [example("TypeScript")] == guide("The example").shown
