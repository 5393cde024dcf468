"""GET /users."""

import pytest

from tests.operations import values


def test_200_when_there_are_no_users(client):
    response = client.get("/api/users")

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == []
    assert "link" not in response.headers


def test_200_with_all_users_in_the_order_of_their_ids(client, make_user):
    make_user(username="testuser2", email="test2@example.com")
    make_user(username="testuser1", email="test1@example.com")

    response = client.get("/api/users")

    assert response.status_code == 200
    assert response.json() == [
        {"id": 1, "username": "testuser2", "email": "test2@example.com"},
        {"id": 2, "username": "testuser1", "email": "test1@example.com"},
    ]


def test_200_with_a_changed_user_in_its_old_place(client, make_user):
    first, second = make_user(), make_user()
    client.put("/api/users/1", json={"username": "zoe"})

    response = client.get("/api/users")

    assert response.json() == [{**first, "username": "zoe"}, second]


def test_200_with_no_more_users_than_asked_for(client, make_user):
    users = [make_user() for _ in range(3)]

    response = client.get("/api/users", params={"limit": 2})

    assert response.status_code == 200
    assert response.json() == users[:2]
    assert response.headers["link"].startswith("</api/users?limit=2&cursor=")


def test_200_with_100_users_unless_asked_for_fewer(client, make_user):
    users = [make_user() for _ in range(101)]

    response = client.get("/api/users")

    assert response.json() == users[:100]


@pytest.mark.parametrize("limit", ["1", "99", "100"])
def test_200_for_a_limit_within_bounds(client, user, limit):
    response = client.get("/api/users", params={"limit": limit})

    assert response.json() == [user]


@pytest.mark.parametrize(("limit", "detail"), values.LIMITS_REFUSED)
def test_400_for_a_limit_that_is_out_of_bounds_or_not_a_plain_integer(client, invalid, limit, detail):
    response = client.get("/api/users", params={"limit": limit})

    assert response.status_code == 400
    assert response.json() == invalid(("query", "/limit", detail))


@pytest.mark.parametrize(("cursor", "detail"), values.CURSORS_REFUSED)
def test_400_for_an_invalid_cursor(client, invalid, cursor, detail):
    response = client.get("/api/users", params={"cursor": cursor})

    assert response.status_code == 400
    assert response.json() == invalid(("query", "/cursor", detail))


def test_400_names_every_fault(client, invalid):
    response = client.get("/api/users?verbose&limit=0&cursor=*&limit=1&user_id=1")

    assert response.status_code == 400
    assert response.json() == invalid(
        ("query", "/verbose", "is not a known parameter"),
        ("query", "/limit", "must be at least 1"),
        ("query", "/cursor", values.NOT_A_CURSOR),
        ("query", "/limit", "is given more than once"),
        ("query", "/user_id", "is not a known parameter"),
    )
