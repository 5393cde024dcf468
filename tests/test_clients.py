"""docs/clients.md agrees with the contract and the pinned generators; `tox -e sdk` runs its commands and programs."""

import re
from pathlib import Path

from api.cli import serve
from contractapp.problems import MAX_ERRORS
from tests.resources import CONTRACT, OPERATIONS

ROOT = Path(__file__).parent.parent
DOCUMENT = CONTRACT.document
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


def test_the_default_url_is_where_api_serve_listens():
    defaults = {option.name: option.default for option in serve.params}

    assert [server["url"] for server in DOCUMENT["servers"]] == [DEFAULT_URL]
    assert f"http://{defaults['host']}:{defaults['port']}/api" == DEFAULT_URL
    assert set(re.findall(r"https?://(?:127\.0\.0\.1|localhost):8000/\w+", GUIDE)) == {DEFAULT_URL}


def test_the_table_of_errors_has_every_status_with_every_type():
    """The types of refused constraints are excluded: the examples of each operation show them."""
    listed = [(int(status), kind) for status, kind, _ in rows("Errors") if not kind.startswith("any other")]
    shown = {(problem["status"], problem["type"]) for problem in problems(DOCUMENT)}

    assert sorted(listed) == sorted(found for found in shown if found[0] != 400 or found[1] == INVALID)


def test_the_table_of_errors_has_every_documented_status():
    documented = {
        status for operation in OPERATIONS.values() for status in operation.definition["responses"] if status >= "400"
    }

    assert {status for status, *_ in rows("Errors")} == documented


def test_the_table_of_errors_has_every_type_of_the_contract():
    schemas = DOCUMENT["components"]["schemas"]
    types = {
        kind for name in schemas if name.endswith("Problem") for kind in schemas[name]["properties"]["type"]["enum"]
    }

    assert {problem["type"] for problem in problems(DOCUMENT)} == types


def test_the_table_of_limits_is_the_contract_s():
    schemas = DOCUMENT["components"]["schemas"]
    limit = DOCUMENT["components"]["parameters"]["limit"]["schema"]

    def characters(name):
        return [
            f"{schemas[name]['minLength']} to {schemas[name]['maxLength']} characters",
            schemas[name]["x-pattern-message"],
        ]

    assert {what: rules for what, *rules in rows("Limits")} == {
        "limit` of a page": [f"{limit['minimum']} to {limit['maximum']}, {limit['default']} unless given", ""],
        "id": [f"{schemas['Id']['minimum']} to {schemas['Id']['maximum']}, which is exact in a double", ""],
        "username": characters("Username"),
        "email": characters("Email"),
        "title": characters("Title"),
        "content": characters("Content"),
        "body": ["1 MiB", ""],
        "errors` of a problem": [str(MAX_ERRORS), ""],
    }
    assert schemas["BadRequestProblem"]["properties"]["errors"]["maxItems"] == MAX_ERRORS


def test_the_link_shown_is_the_contract_s_example():
    assert f"Link: {DOCUMENT['components']['headers']['Link']['example']}\n" in section("Paging")


def test_links_lead_from_page_to_page_until_the_last(client, make_user):
    for number in range(1, 4):
        make_user(username=f"user{number}", email=f"user{number}@example.com")
    url, seen = "/api/users?limit=1", []

    while url:
        response = client.get(url)
        seen += [user["id"] for user in response.json()]
        url = response.links["next"]["url"] if "next" in response.links else None

    assert seen == [1, 2, 3]


def test_the_generators_have_the_versions_that_tox_installs():
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements" / "sdk.txt").read_text(), re.MULTILINE))

    installed = re.findall(r"^pip install (openapi\S+)$", GUIDE, re.MULTILINE)

    assert set(installed) == {f"{name}=={locked[name]}" for name in ("openapi-generator-cli", "openapi-python-client")}


def test_every_package_of_npm_has_a_version():
    lists = re.findall(r"^npm install (?:--save-dev )?(.+)$|^npx --yes (\S+)", GUIDE, re.MULTILINE)

    packages = [package for found in lists for package in " ".join(found).split()]

    assert len(packages) == 6
    assert [package for package in packages if not re.fullmatch(r"@?[a-z0-9/-]+@\d+\.\d+\.\d+", package)] == []
