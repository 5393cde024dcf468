"""PUT /users/{user_id}."""

import pytest

from tests.operations import values


def test_200_with_both_changed(client, make_user):
    make_user()
    other = make_user()

    response = client.put("/api/users/1", json={"username": "updateduser", "email": "updated@example.com"})

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"id": 1, "username": "updateduser", "email": "updated@example.com"}
    assert client.get("/api/users").json() == [response.json(), other]


@pytest.mark.parametrize("changes", [{"username": "updateduser"}, {"email": "updated@example.com"}])
def test_200_with_the_members_that_were_not_sent_unchanged(client, user, changes):
    response = client.put("/api/users/1", json=changes)

    assert response.status_code == 200
    assert response.json() == {**user, **changes}
    assert client.get("/api/users/1").json() == response.json()


def test_200_when_nothing_changes(client, user):
    response = client.put("/api/users/1", json={"username": user["username"], "email": user["email"]})

    assert response.status_code == 200
    assert response.json() == user


def test_200_and_the_posts_show_the_change(client, post):
    response = client.put(f"/api/users/{post['user_id']}", json={"username": "updateduser"})

    assert client.get("/api/posts").json() == [{**post, "author": response.json()}]


@pytest.mark.parametrize("username", values.LINES)
def test_200_with_the_username_as_it_was_sent(client, user, username):
    response = client.put("/api/users/1", json={"username": username})

    assert response.json() == {**user, "username": username}


def test_400_when_the_username_is_taken(client, make_user):
    users = [make_user(username="ann"), make_user()]

    response = client.put("/api/users/2", json={"username": "ann", "email": "new@example.com"})

    assert response.status_code == 400
    assert response.json() == {
        "type": "urn:problem:username-taken",
        "title": "Username taken",
        "status": 400,
        "detail": "Username already exists",
        "error": "Username already exists",
        "errors": [{"in": "body", "pointer": "/username", "detail": "Username already exists"}],
    }
    assert client.get("/api/users").json() == users


def test_400_when_the_email_is_taken(client, make_user):
    users = [make_user(email="ann@example.com"), make_user()]

    response = client.put("/api/users/2", json={"username": "new", "email": "ann@example.com"})

    assert response.status_code == 400
    assert response.json() == {
        "type": "urn:problem:email-taken",
        "title": "Email taken",
        "status": 400,
        "detail": "Email already exists",
        "error": "Email already exists",
        "errors": [{"in": "body", "pointer": "/email", "detail": "Email already exists"}],
    }
    assert client.get("/api/users").json() == users


def test_400_with_both_when_both_are_taken_by_different_users(client, make_user):
    users = [make_user(username="ann"), make_user(email="bob@example.com"), make_user()]

    response = client.put("/api/users/3", json={"username": "ann", "email": "bob@example.com"})

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
    assert client.get("/api/users").json() == users


def test_400_with_the_email_only_when_the_username_is_the_users_own(client, make_user):
    users = [make_user(email="ann@example.com"), make_user(username="bob")]

    response = client.put("/api/users/2", json={"username": "bob", "email": "ann@example.com"})

    assert response.status_code == 400
    assert response.json()["errors"] == [{"in": "body", "pointer": "/email", "detail": "Email already exists"}]
    assert client.get("/api/users").json() == users


def test_400_when_nothing_is_sent_to_change(client, user, invalid):
    response = client.put("/api/users/1", json={})

    assert response.status_code == 400
    assert response.json() == invalid(("body", "", "must have at least 1 member"))


@pytest.mark.parametrize(("username", "detail"), values.LINES_REFUSED)
def test_400_for_an_invalid_username(client, user, invalid, username, detail):
    response = client.put("/api/users/1", json={"username": username})

    assert response.status_code == 400
    assert response.json() == invalid(("body", "/username", detail))


@pytest.mark.parametrize("value", values.NOT_TEXTS)
@pytest.mark.parametrize("member", ["username", "email"])
def test_400_for_a_value_that_is_not_a_text(client, user, invalid, member, value):
    response = client.put("/api/users/1", json={member: value})

    assert response.status_code == 400
    assert response.json() == invalid(("body", f"/{member}", "must be a string"))


def test_400_for_another_id(client, user, invalid):
    response = client.put("/api/users/1", json={"id": 1, "username": "updateduser"})

    assert response.status_code == 400
    assert response.json() == invalid(("body", "/id", "is not a known member"))
    assert client.get("/api/users/1").json() == user


def test_400_names_every_fault(client, invalid):
    response = client.put("/api/users/one?force=1", json={"username": "", "email": "@", "nickname": None})

    assert response.status_code == 400
    assert response.json() == invalid(
        ("path", "/user_id", "must be an integer"),
        ("query", "/force", "is not a known parameter"),
        ("body", "/email", "must be an e-mail address"),
        ("body", "/nickname", "is not a known member"),
        ("body", "/username", "must have at least 1 character"),
    )


def test_404_when_there_is_no_such_user(client, user, problem):
    response = client.put("/api/users/999", json={"username": "newuser"})

    assert response.status_code == 404
    assert response.json() == problem(404, "User not found")
    assert client.get("/api/users").json() == [user]


def test_404_even_if_another_user_has_the_username(client, user, problem):
    response = client.put("/api/users/999", json={"username": user["username"]})

    assert response.status_code == 404
    assert response.json() == problem(404, "User not found")
