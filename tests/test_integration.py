"""Complete workflows of a client."""

import time

from api.models import Post, User
from tests.applications import application

JSON = {"Content-Type": "application/json"}


def test_a_user_and_a_post_are_created_and_deleted(client):
    created = client.post("/api/users", json={"username": "workflowuser", "email": "workflow@example.com"})
    assert created.status_code == 201
    user = created.json()
    url = created.headers["location"]
    assert user == {"id": user["id"], "username": "workflowuser", "email": "workflow@example.com"}
    assert url == f"/api/users/{user['id']}"
    assert client.get(url).json() == user

    updated = client.put(url, json={"username": "updatedworkflow"})
    assert updated.status_code == 200
    user = {**user, "username": "updatedworkflow"}
    assert updated.json() == user

    posted = client.post(
        "/api/posts", json={"title": "Workflow Post", "content": "Content from workflow", "user_id": user["id"]}
    )
    assert posted.status_code == 201
    post = posted.json()
    assert post == {
        "id": post["id"],
        "title": "Workflow Post",
        "content": "Content from workflow",
        "user_id": user["id"],
        "author": user,
    }
    assert client.get("/api/posts").json() == [post]
    assert client.get("/api/posts", params={"user_id": user["id"]}).json() == [post]

    edited = client.put(posted.headers["location"], json={"content": "Edited"})
    assert edited.status_code == 200
    assert edited.json() == {**post, "content": "Edited"}

    assert client.delete(url).json() == {"message": "User deleted successfully"}
    assert client.get(url).status_code == 404
    assert client.get(posted.headers["location"]).status_code == 404
    assert client.get("/api/users").json() == []
    assert client.get("/api/posts").json() == []


def test_different_faults_get_different_problems(client):
    no_json = client.post("/api/users", content="invalid json", headers=JSON)
    no_path = client.get("/api/nonexistent")
    no_method = client.patch("/api/users/1")

    assert (no_json.status_code, no_json.json()["type"]) == (400, "urn:problem:invalid-request")
    assert (no_path.status_code, no_path.json()["error"]) == (404, "There is nothing at this path.")
    assert (no_method.status_code, no_method.json()["error"]) == (405, "This path does not take this method.")
    assert no_method.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


def test_a_body_without_the_type_of_json_is_refused(client):
    body = '{"username": "test", "email": "test@example.com"}'

    without = client.post("/api/users", content=body)
    wrong = client.post("/api/users", content=body, headers={"Content-Type": "text/plain"})

    assert (without.status_code, wrong.status_code) == (415, 415)
    assert client.get("/api/users").json() == []


def test_models_see_what_the_api_stored_and_the_other_way_round(client, app, make_user):
    make_user(username="stored")
    client.post("/api/users", json={"username": "sent", "email": "sent@example.com"})
    client.post("/api/posts", json={"title": "Sent Post", "content": "Content", "user_id": 2})

    with app.app.app_context():
        assert [str(user) for user in User.query.order_by(User.id)] == ["<User stored>", "<User sent>"]
        assert [str(post.author) for post in Post.query] == ["<User sent>"]
    assert [user["username"] for user in client.get("/api/users").json()] == ["stored", "sent"]


def test_every_application_sees_what_another_wrote(client, database_url):
    with application(SQLALCHEMY_DATABASE_URI=database_url) as other:
        created = other.test_client().post("/api/users", json={"username": "ann", "email": "ann@example.com"})
        seen = client.get(created.headers["location"])
        client.delete(created.headers["location"])
        gone = other.test_client().get(created.headers["location"])

    assert seen.json() == created.json()
    assert gone.status_code == 404


def test_a_test_finds_the_database_empty(client):
    """The second of these two tests shows that the first one's rows were deleted."""
    created = client.post("/api/users", json={"username": "tempuser", "email": "temp@example.com"})

    assert created.json()["id"] == 1
    assert client.get("/api/users").json() == [created.json()]


def test_another_test_finds_the_database_empty(client):
    """See the test above."""
    created = client.post("/api/users", json={"username": "tempuser", "email": "temp@example.com"})

    assert created.json()["id"] == 1
    assert client.get("/api/users").json() == [created.json()]


def test_ten_lists_take_less_than_a_second(client, make_user):
    """CPU time, because elapsed time depends on the load of the machine."""
    make_user()
    make_user()
    started = time.process_time()

    statuses = [client.get("/api/users").status_code for _ in range(10)]

    assert time.process_time() - started < 1
    assert statuses == [200] * 10
