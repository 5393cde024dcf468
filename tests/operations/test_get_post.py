"""GET /posts/{post_id}."""


def test_200_with_the_post_and_its_author(client, make_user, make_post):
    make_user()
    author = make_user(username="author", email="author@example.com")
    make_post(title="First Post", content="Content 1", user_id=author["id"])

    response = client.get("/api/posts/1")

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "id": 1,
        "title": "First Post",
        "content": "Content 1",
        "user_id": 2,
        "author": {"id": 2, "username": "author", "email": "author@example.com"},
    }


def test_404_when_there_is_no_such_post(client, post, problem):
    response = client.get("/api/posts/999")

    assert response.status_code == 404
    assert response.json() == problem(404, "Post not found")


def test_404_after_the_author_was_deleted(client, post, problem):
    client.delete(f"/api/users/{post['user_id']}")

    response = client.get("/api/posts/1")

    assert response.status_code == 404
    assert response.json() == problem(404, "Post not found")
