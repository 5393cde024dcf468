"""DELETE /posts/{post_id}."""


def test_200_and_the_post_is_deleted(client, make_post):
    make_post()
    other = make_post()

    response = client.delete("/api/posts/1")

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"message": "Post deleted successfully"}
    assert client.get("/api/posts").json() == [other]


def test_200_and_the_author_is_kept(client, post):
    response = client.delete("/api/posts/1")

    assert response.status_code == 200
    assert client.get("/api/users").json() == [post["author"]]


def test_404_when_there_is_no_such_post(client, post, problem):
    response = client.delete("/api/posts/999")

    assert response.status_code == 404
    assert response.json() == problem(404, "Post not found")
    assert client.get("/api/posts").json() == [post]


def test_404_the_second_time(client, post, problem):
    client.delete("/api/posts/1")

    response = client.delete("/api/posts/1")

    assert response.status_code == 404
    assert response.json() == problem(404, "Post not found")
