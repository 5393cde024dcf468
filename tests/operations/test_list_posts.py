"""GET /posts."""

import pytest

from tests.operations import values


def test_200_when_there_are_no_posts(client, user):
    response = client.get("/api/posts")

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == []
    assert "link" not in response.headers


def test_200_with_all_posts_and_their_authors_in_the_order_of_their_ids(client, make_user, make_post):
    second = make_user(username="testuser2", email="test2@example.com")
    first = make_user(username="testuser1", email="test1@example.com")
    make_post(title="First Post", content="Content 1", user_id=first["id"])
    make_post(title="Second Post", content="Content 2", user_id=second["id"])

    response = client.get("/api/posts")

    assert response.status_code == 200
    assert response.json() == [
        {"id": 1, "title": "First Post", "content": "Content 1", "user_id": 2, "author": first},
        {"id": 2, "title": "Second Post", "content": "Content 2", "user_id": 1, "author": second},
    ]


def test_200_with_the_posts_of_one_user(client, make_user, make_post):
    user = make_user()
    posts = [make_post(user_id=user["id"])]
    make_post()
    posts.append(make_post(user_id=user["id"]))

    response = client.get("/api/posts", params={"user_id": user["id"]})

    assert response.status_code == 200
    assert response.json() == posts


def test_200_without_posts_for_a_user_who_does_not_exist(client, post):
    response = client.get("/api/posts", params={"user_id": 999})

    assert response.status_code == 200
    assert response.json() == []


def test_200_with_no_more_posts_than_asked_for(client, make_user, make_post):
    user = make_user()
    posts = [make_post(user_id=user["id"]) for _ in range(3)]

    response = client.get("/api/posts", params={"user_id": user["id"], "limit": 2})

    assert response.json() == posts[:2]
    assert response.headers["link"].startswith("</api/posts?limit=2&user_id=1&cursor=")


def test_200_with_100_posts_unless_asked_for_fewer(client, make_user, make_post):
    user = make_user()
    posts = [make_post(user_id=user["id"]) for _ in range(101)]

    response = client.get("/api/posts")

    assert response.json() == posts[:100]


@pytest.mark.parametrize(("limit", "detail"), values.LIMITS_REFUSED)
def test_400_for_a_limit_that_is_out_of_bounds_or_not_a_plain_integer(client, invalid, limit, detail):
    response = client.get("/api/posts", params={"limit": limit})

    assert response.status_code == 400
    assert response.json() == invalid(("query", "/limit", detail))


@pytest.mark.parametrize(("user_id", "detail"), values.IDS_REFUSED)
def test_400_for_an_invalid_id(client, invalid, user_id, detail):
    response = client.get("/api/posts", params={"user_id": user_id})

    assert response.status_code == 400
    assert response.json() == invalid(("query", "/user_id", detail))


@pytest.mark.parametrize(("cursor", "detail"), values.CURSORS_REFUSED)
def test_400_for_an_invalid_cursor(client, invalid, cursor, detail):
    response = client.get("/api/posts", params={"cursor": cursor})

    assert response.status_code == 400
    assert response.json() == invalid(("query", "/cursor", detail))


def test_400_names_every_fault(client, invalid):
    response = client.get("/api/posts?author=1&user_id=0&limit=many&cursor=")

    assert response.status_code == 400
    assert response.json() == invalid(
        ("query", "/author", "is not a known parameter"),
        ("query", "/user_id", "must be at least 1"),
        ("query", "/limit", "must be an integer"),
        ("query", "/cursor", "must have at least 1 character"),
    )
