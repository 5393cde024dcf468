"""The commands of docs/clients.md that make no client: the mock server, and the collection for Postman."""

import json
import re

import httpx

from tests.sdk.conftest import ROOT


def test_the_mock_server_gives_the_example_that_is_asked_for(mock, contract):
    (header,) = re.findall(r"`Prefer: (code=400, example=\w+)`", (ROOT / "docs" / "clients.md").read_text())
    example = contract["components"]["examples"][header.rpartition("=")[2]]["value"]

    response = httpx.post(
        f"{mock}/users", json={"username": "ada", "email": "ada@example.com"}, headers={"Prefer": header}
    )

    assert (response.status_code, response.json()) == (400, example)


def test_the_collection_for_postman_has_every_operation_with_the_contract_s_examples(
    debian, workshop, guide, contract, operations
):
    debian("npm")
    (block,) = guide("Postman").make
    workshop.run("sh", "-ec", block, cwd=ROOT)

    collection = json.loads((ROOT / "clients" / "collection.json").read_text())

    requests = {item["name"]: item["request"] for item in items(collection["item"])}
    assert set(requests) == {operation["summary"] for operation in operations.values()}
    assert json.loads(requests["Create a user"]["body"]["raw"]) == {
        "username": "newuser",
        "email": "newuser@example.com",
    }
    assert [query["disabled"] for query in requests["List users"]["url"]["query"]] == [True, True]
    (server,) = contract["servers"]
    assert {variable["key"]: variable["value"] for variable in collection["variable"]} == {"baseUrl": server["url"]}


def items(folder):
    """The requests of a collection, in all its folders."""
    for item in folder:
        if "request" in item:
            yield item
        yield from items(item.get("item", []))
