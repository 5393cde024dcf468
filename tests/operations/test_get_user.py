"""GET /users/{user_id}."""


def test_200_with_the_user(client, make_user):
    make_user(username="testuser1", email="test1@example.com")
    make_user(username="testuser2", email="test2@example.com")

    response = client.get("/api/users/1")

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"id": 1, "username": "testuser1", "email": "test1@example.com"}


def test_404_when_there_is_no_such_user(client, user, problem):
    response = client.get("/api/users/999")

    assert response.status_code == 404
    assert response.json() == problem(404, "User not found")


def test_404_after_the_user_was_deleted(client, user, problem):
    client.delete("/api/users/1")

    response = client.get("/api/users/1")

    assert response.status_code == 404
    assert response.json() == problem(404, "User not found")
