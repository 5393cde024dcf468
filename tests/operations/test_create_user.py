"""POST /users."""

import pytest

from tests.operations import values

ANN = {"username": "ann", "email": "ann@example.com"}

EMAILS = [
    "a@b",
    "a" * 64 + "@" + "b" * 51 + ".com",  # 120 characters
    "first.last+tag@sub.example.co.uk",
    "A@EXAMPLE.COM",
    "o'hara@example.com",
    '"a b"@example.com',
    "a@[127.0.0.1]",
]

EMAILS_REFUSED = [
    ("", "must have at least 1 character"),
    ("a" * 109 + "@example.com", "must have at most 120 characters"),
    ("@", "must be an e-mail address"),
    ("ann", "must be an e-mail address"),
    ("ann@", "must be an e-mail address"),
    ("@example.com", "must be an e-mail address"),
    ("ann@exam ple.com", "must be an e-mail address"),
    ("a@b@example.com", "must be an e-mail address"),
    ("ann@example.com\n", "must be an e-mail address"),
    ("ann@example.com\0", "must be an e-mail address"),
    ("änn@example.com", "must be an e-mail address"),
]


def test_201_with_the_new_user(client):
    response = client.post("/api/users", json={"username": "newuser", "email": "newuser@example.com"})

    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    assert response.headers["location"] == "/api/users/1"
    assert response.json() == {"id": 1, "username": "newuser", "email": "newuser@example.com"}
    assert client.get("/api/users").json() == [response.json()]


def test_201_with_the_user_found_at_its_location(client):
    created = client.post("/api/users", json=ANN)

    assert client.get(created.headers["location"]).json() == created.json()


@pytest.mark.parametrize("username", [*values.LINES, "李" * 80, "😀" * 80])
def test_201_with_the_username_as_it_was_sent(client, username):
    response = client.post("/api/users", json={**ANN, "username": username})

    assert response.status_code == 201
    assert response.json() == {"id": 1, "username": username, "email": "ann@example.com"}
    assert client.get("/api/users/1").json() == response.json()


@pytest.mark.parametrize("email", EMAILS)
def test_201_with_the_email_as_it_was_sent(client, email):
    response = client.post("/api/users", json={**ANN, "email": email})

    assert response.status_code == 201
    assert response.json() == {"id": 1, "username": "ann", "email": email}
    assert client.get("/api/users/1").json() == response.json()


@pytest.mark.parametrize(
    "other",
    [
        {"username": "Ann", "email": "ANN@example.com"},
        {"username": "a\u030ann", "email": "other@example.com"},
    ],
)
def test_201_for_names_that_differ_in_a_byte(client, make_user, other):
    make_user(username="ann", email="ann@example.com")
    make_user(username="\u00e5nn", email="angstrom@example.com")

    response = client.post("/api/users", json=other)

    assert response.status_code == 201
    assert response.json() == {"id": 3, **other}


def test_201_with_an_id_that_no_deleted_user_had(client, make_user):
    make_user()
    client.delete(f"/api/users/{make_user()['id']}")

    response = client.post("/api/users", json=ANN)

    assert response.json() == {"id": 3, **ANN}


def test_201_for_the_names_of_a_deleted_user(client, make_user):
    client.delete(f"/api/users/{make_user(**ANN)['id']}")

    response = client.post("/api/users", json=ANN)

    assert response.status_code == 201


def test_201_with_the_last_value_of_a_repeated_member(client):
    response = client.post(
        "/api/users",
        content=b'{"username": "first", "username": "last", "email": "a@b.c"}',
        headers={"Content-Type": "application/json"},
    )

    assert response.json() == {"id": 1, "username": "last", "email": "a@b.c"}


def test_400_when_the_username_is_taken(client, make_user):
    taken = make_user(username="testuser1", email="test1@example.com")

    response = client.post("/api/users", json={"username": "testuser1", "email": "new@example.com"})

    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "urn:problem:username-taken",
        "title": "Username taken",
        "status": 400,
        "detail": "Username already exists",
        "error": "Username already exists",
        "errors": [{"in": "body", "pointer": "/username", "detail": "Username already exists"}],
    }
    assert client.get("/api/users").json() == [taken]


def test_400_when_the_email_is_taken(client, make_user):
    taken = make_user(username="testuser1", email="test1@example.com")

    response = client.post("/api/users", json={"username": "newuser", "email": "test1@example.com"})

    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "urn:problem:email-taken",
        "title": "Email taken",
        "status": 400,
        "detail": "Email already exists",
        "error": "Email already exists",
        "errors": [{"in": "body", "pointer": "/email", "detail": "Email already exists"}],
    }
    assert client.get("/api/users").json() == [taken]


def test_400_with_both_when_both_are_taken(client, user):
    response = client.post("/api/users", json={"username": user["username"], "email": user["email"]})

    assert response.status_code == 400
    assert response.json() == {
        "type": "urn:problem:username-taken",
        "title": "Username taken",
        "status": 400,
        "detail": "Username already exists",
        "error": "Username already exists",
        "errors": [
            {"in": "body", "pointer": "/username", "detail": "Username already exists"},
            {"in": "body", "pointer": "/email", "detail": "Email already exists"},
        ],
    }
    assert client.get("/api/users").json() == [user]


def test_400_and_then_201_with_another_name(client, user):
    refused = client.post("/api/users", json={**ANN, "username": user["username"]})
    created = client.post("/api/users", json=ANN)

    assert (refused.status_code, created.status_code) == (400, 201)


@pytest.mark.parametrize("missing", ["username", "email"])
def test_400_when_a_member_is_missing(client, invalid, missing):
    body = {name: value for name, value in ANN.items() if name != missing}

    response = client.post("/api/users", json=body)

    assert response.status_code == 400
    assert response.json() == invalid(("body", f"/{missing}", "is required"))
    assert client.get("/api/users").json() == []


@pytest.mark.parametrize(
    ("username", "detail"), [*values.LINES_REFUSED, ("李" * 81, "must have at most 80 characters")]
)
def test_400_for_an_invalid_username(client, invalid, username, detail):
    response = client.post("/api/users", json={**ANN, "username": username})

    assert response.status_code == 400
    assert response.json() == invalid(("body", "/username", detail))


@pytest.mark.parametrize(("email", "detail"), EMAILS_REFUSED)
def test_400_for_an_invalid_email(client, invalid, email, detail):
    response = client.post("/api/users", json={**ANN, "email": email})

    assert response.status_code == 400
    assert response.json() == invalid(("body", "/email", detail))


@pytest.mark.parametrize("value", values.NOT_TEXTS)
@pytest.mark.parametrize("member", ["username", "email"])
def test_400_for_a_value_that_is_not_a_text(client, invalid, member, value):
    response = client.post("/api/users", json={**ANN, member: value})

    assert response.status_code == 400
    assert response.json() == invalid(("body", f"/{member}", "must be a string"))


@pytest.mark.parametrize("member", ["id", "posts", "", "Username", "__proto__"])
def test_400_for_a_member_that_is_not_known(client, invalid, member):
    response = client.post("/api/users", json={**ANN, member: 7})

    assert response.status_code == 400
    assert response.json() == invalid(("body", f"/{member}", "is not a known member"))


def test_400_names_every_fault(client, invalid):
    response = client.post("/api/users?dry_run=1", json={"username": "a" * 81, "nickname": "a"})

    assert response.status_code == 400
    assert response.json() == invalid(
        ("query", "/dry_run", "is not a known parameter"),
        ("body", "/email", "is required"),
        ("body", "/nickname", "is not a known member"),
        ("body", "/username", "must have at most 80 characters"),
    )
