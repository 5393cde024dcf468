"""Tests of the notes. The ledger also checks that each response is documented, and each documented response occurs."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from notes import create_app


@pytest.fixture
def client() -> Iterator[TestClient]:
    with create_app(capacity=2).test_client(raise_server_exceptions=False) as client:
        yield client


def test_a_note_is_stored(client: TestClient) -> None:
    created = client.post("/v1/notes", json={"text": "Buy milk"})

    assert (created.status_code, created.json()) == (201, {"id": 1, "text": "Buy milk"})
    assert client.get(created.headers["Location"]).json() == created.json()
    assert client.get("/v1/notes").json() == [created.json()]


def test_a_note_is_deleted(client: TestClient) -> None:
    path = client.post("/v1/notes", json={"text": "Buy milk"}).headers["Location"]

    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404


def test_the_oldest_notes_are_listed(client: TestClient) -> None:
    for text in ("one", "two"):
        client.post("/v1/notes", json={"text": text})

    assert client.get("/v1/notes?limit=1").json() == [{"id": 1, "text": "one"}]


def test_409_when_the_maximum_number_of_notes_is_stored(client: TestClient) -> None:
    for text in ("one", "two"):
        client.post("/v1/notes", json={"text": text})

    refused = client.post("/v1/notes", json={"text": "three"})

    assert (refused.status_code, refused.json()["type"]) == (409, "urn:problem:notes-full")


@pytest.mark.parametrize(
    ("method", "target", "pointer"),
    [
        ("GET", "/v1/notes?limit=0", "/limit"),
        ("POST", "/v1/notes", "/text"),
        ("GET", "/v1/notes/one", "/note_id"),
        ("DELETE", "/v1/notes/0", "/note_id"),
    ],
)
def test_a_request_that_does_not_match_the_contract_is_refused(
    client: TestClient, method: str, target: str, pointer: str
) -> None:
    refused = client.request(method, target, json={} if method == "POST" else None)

    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, pointer)


@pytest.mark.parametrize("path", ["/v1/notes", "/v1/notes/1"])
def test_a_method_that_a_path_does_not_accept_is_refused(client: TestClient, path: str) -> None:
    assert client.put(path).status_code == 405
