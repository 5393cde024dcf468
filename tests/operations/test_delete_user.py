"""DELETE /users/{user_id}."""


def test_200_and_the_user_is_deleted(client, make_user):
    make_user()
    other = make_user()

    response = client.delete("/api/users/1")

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"message": "User deleted successfully"}
    assert client.get("/api/users").json() == [other]


def test_200_and_the_posts_of_the_user_are_deleted(client, make_user, make_post):
    user = make_user()
    make_post(user_id=user["id"])
    other = make_post()
    make_post(user_id=user["id"])

    response = client.delete(f"/api/users/{user['id']}")

    assert response.status_code == 200
    assert client.get("/api/posts").json() == [other]


def test_404_when_there_is_no_such_user(client, user, problem):
    response = client.delete("/api/users/999")

    assert response.status_code == 404
    assert response.json() == problem(404, "User not found")
    assert client.get("/api/users").json() == [user]


def test_404_the_second_time(client, user, problem):
    client.delete("/api/users/1")

    response = client.delete("/api/users/1")

    assert response.status_code == 404
    assert response.json() == problem(404, "User not found")
