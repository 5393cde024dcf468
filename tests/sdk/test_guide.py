"""docs/clients.md is correct: its tables agree with the contract, its commands and programs print what it shows."""

import json
import re
import shlex
import sys
from pathlib import Path

import httpx

from api.cli import serve
from contractapp.problems import MAX_ERRORS

ROOT = Path(__file__).parent.parent.parent
GUIDE = (ROOT / "docs" / "clients.md").read_text()
INVALID = "urn:problem:invalid-request"
DEFAULT_URL = "http://127.0.0.1:8000/api"


def section(heading):
    return GUIDE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def rows(heading):
    """The cells of the section's table, without its two lines of heading."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def problems(value):
    """Every problem that the contract shows as an example."""
    if isinstance(value, dict):
        if {"type", "status", "detail"} <= value.keys() and isinstance(value["status"], int):
            yield value
        for member in value.values():
            yield from problems(member)
    elif isinstance(value, list):
        for member in value:
            yield from problems(member)


def test_the_default_url_is_where_api_serve_listens(contract):
    defaults = {option.name: option.default for option in serve.params}

    assert [server["url"] for server in contract["servers"]] == [DEFAULT_URL]
    assert f"http://{defaults['host']}:{defaults['port']}/api" == DEFAULT_URL
    assert set(re.findall(r"https?://(?:127\.0\.0\.1|localhost):8000/\w+", GUIDE)) == {DEFAULT_URL}


def test_the_table_of_errors_has_every_status_with_every_type(contract):
    """The types of refused constraints are excluded: the introduction of the contract lists them."""
    listed = [(int(status), kind) for status, kind, _ in rows("Errors") if not kind.startswith("any other")]
    shown = {(problem["status"], problem["type"]) for problem in problems(contract)}

    assert sorted(listed) == sorted(found for found in shown if found[1] in {"about:blank", INVALID})
    assert {status for status, kind in shown if kind not in {"about:blank", INVALID}} == {400}


def test_the_table_of_errors_has_every_documented_status(operations):
    documented = {status for operation in operations.values() for status in operation["responses"] if status >= "400"}

    assert {status for status, *_ in rows("Errors")} == documented


def test_the_table_of_errors_has_every_type_of_the_contract(contract):
    schemas = contract["components"]["schemas"]
    types = {
        kind for name in schemas if name.endswith("Problem") for kind in schemas[name]["properties"]["type"]["enum"]
    }

    assert {kind for _, kind, _ in rows("Errors") if not kind.startswith("any other")} == {"about:blank", INVALID}
    assert {kind for kind in types if f"`{kind}`" in contract["info"]["description"]} == types


def test_the_table_of_limits_is_the_contract_s(contract):
    schemas = contract["components"]["schemas"]
    limit = contract["components"]["parameters"]["limit"]["schema"]

    def characters(name):
        return f"{schemas[name]['minLength']} to {schemas[name]['maxLength']} characters"

    assert dict(rows("Limits")) == {
        "limit` of a page": f"{limit['minimum']} to {limit['maximum']}, {limit['default']} unless given",
        "id": f"{schemas['Id']['minimum']} to {schemas['Id']['maximum']}, which is exact in a double",
        "username": characters("Username"),
        "email": characters("Email"),
        "title": characters("Title"),
        "content": characters("Content"),
        "body": "1 MiB",
        "errors` of a problem": str(schemas["BadRequestProblem"]["properties"]["errors"]["maxItems"]),
    }
    assert schemas["BadRequestProblem"]["properties"]["errors"]["maxItems"] == MAX_ERRORS


def test_the_link_shown_is_the_contract_s_example(contract):
    assert f"Link: {contract['components']['headers']['Link']['example']}\n" in section("Paging")


def test_links_lead_from_page_to_page_until_the_last(server):
    for number in range(1, 4):
        body = {"username": f"user{number}", "email": f"user{number}@example.com"}
        httpx.post(f"{server}/users", json=body).raise_for_status()
    url, seen = httpx.URL(f"{server}/users?limit=1"), []

    while url:
        response = httpx.get(url)
        seen += [user["id"] for user in response.json()]
        url = url.join(response.links["next"]["url"]) if "next" in response.links else None

    assert seen == [1, 2, 3]


def test_the_command_that_tries_again_prints_what_is_shown(workshop, server):
    ((command, shown),) = re.findall(r"```sh\n(.*?)\n```\n\n```json\n(.*?)\n```", section("Retries"), re.DOTALL)

    said = workshop.run("sh", "-c", command.replace(DEFAULT_URL, server))

    assert said == shown


def test_the_python_example_prints_what_the_guide_shows(make, workshop, server, guide, tmp_path):
    make("Python")
    (program,) = guide("Python").programs
    (tmp_path / "example.py").write_text(program.replace(DEFAULT_URL, server))

    said = workshop.run(
        *(sys.executable, str(tmp_path / "example.py")), PYTHONPATH=str(workshop.folder / "clients" / "python")
    )

    assert [said] == guide("The example").shown


def test_the_typescript_example_compiles_and_prints_what_the_guide_shows(node, make, workshop, server, guide):
    make("TypeScript")
    (program,) = guide("TypeScript").programs
    (node / "example.ts").write_text(program.replace(DEFAULT_URL, server))
    workshop.run("npx", "tsc", "--project", "tsconfig.json")

    said = workshop.run("node", str(node / "out" / "example.js"))

    assert [said] == guide("The example").shown


def test_the_mock_server_gives_the_example_that_is_asked_for(mock, contract):
    (header,) = re.findall(r"`Prefer: (code=400, example=\w+)`", section("Mock server"))
    example = contract["components"]["examples"][header.rpartition("=")[2]]["value"]

    response = httpx.post(
        f"{mock}/users", json={"username": "ada", "email": "ada@example.com"}, headers={"Prefer": header}
    )

    assert (response.status_code, response.json()) == (400, example)


def test_the_collection_for_postman_has_every_operation_with_the_contract_s_examples(node, workshop, guide, operations):
    (command,) = guide("Postman").commands
    workshop.run(*shlex.split(command))

    collection = json.loads((node / "collection.json").read_text())

    requests = {item["name"]: item["request"] for item in items(collection["item"])}
    assert set(requests) == {operation["summary"] for operation in operations.values()}
    assert json.loads(requests["Create a user"]["body"]["raw"]) == {
        "username": "newuser",
        "email": "newuser@example.com",
    }
    assert [query["disabled"] for query in requests["List users"]["url"]["query"]] == [True, True]
    assert {variable["key"]: variable["value"] for variable in collection["variable"]} == {"baseUrl": workshop.url}


def items(folder):
    """The requests of a collection, in all its folders."""
    for item in folder:
        if "request" in item:
            yield item
        yield from items(item.get("item", []))
