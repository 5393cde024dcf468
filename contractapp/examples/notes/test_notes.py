"""What the notes do. The ledger asks for the rest: that every answer is documented, and every documented one seen."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from notes import create_app


@pytest.fixture
def client() -> Iterator[TestClient]:
    with create_app(capacity=2).test_client(raise_server_exceptions=False) as client:
        yield client


def test_a_note_is_kept(client: TestClient) -> None:
    created = client.post("/v1/notes", json={"text": "Buy milk"})

    assert (created.status_code, created.json()) == (201, {"id": 1, "text": "Buy milk"})
    assert client.get(created.headers["Location"]).json() == created.json()
    assert client.get("/v1/notes").json() == [created.json()]


def test_a_note_is_thrown_away(client: TestClient) -> None:
    path = client.post("/v1/notes", json={"text": "Buy milk"}).headers["Location"]

    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404


def test_the_oldest_notes_are_listed(client: TestClient) -> None:
    for text in ("one", "two"):
        client.post("/v1/notes", json={"text": text})

    assert client.get("/v1/notes?limit=1").json() == [{"id": 1, "text": "one"}]


def test_no_more_notes_are_kept_than_there_is_room_for(client: TestClient) -> None:
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
def test_what_the_contract_does_not_allow_is_refused(
    client: TestClient, method: str, target: str, pointer: str
) -> None:
    refused = client.request(method, target, json={} if method == "POST" else None)

    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, pointer)


@pytest.mark.parametrize("path", ["/v1/notes", "/v1/notes/1"])
def test_a_method_that_a_path_does_not_take_is_refused(client: TestClient, path: str) -> None:
    assert client.put(path).status_code == 405
