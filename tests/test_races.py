"""Concurrent requests: one succeeds, the others get the response that they would get a moment later, never a 500.

In some tests, an open transaction of another connection holds a request at the critical point. In the others, several
threads of one application start at the same time, in enough rounds to show a race condition.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text

from tests.applications import application

ROUNDS = 4
THREADS = 6

GONE = 404
TAKEN = {"username": "urn:problem:username-taken", "email": "urn:problem:email-taken"}


@pytest.fixture(scope="module")
def racing(database_url):
    """An application on the run's database that writes in several threads, like several processes."""
    with application(SQLALCHEMY_DATABASE_URI=database_url, API_READ_THREADS=4, API_WRITE_THREADS=4) as app:
        app.test_client().get("/api/health/live")  # test_factory.py tests concurrent first requests
        yield app


@pytest.fixture
def client(app, racing):
    """Requests to the application `racing`, on the run's database; its tables are empty."""
    return racing.test_client()


@pytest.fixture
def at_once(racing):
    """Sends requests at once, each in its own thread; returns the responses in the order of the requests."""

    def send(*requests):
        def one(request):
            method, url, body = request
            client = racing.test_client()
            together.wait()
            return client.request(method, url, json=body)

        together = threading.Barrier(len(requests))
        with ThreadPoolExecutor(len(requests)) as threads:
            return list(threads.map(one, requests))

    return send


@pytest.fixture
def held_up(client, database_url):
    """Sends a request while a transaction of another connection is open, and ends that transaction shortly after."""
    engine = create_engine(database_url)

    def send(statement, method, url, body=None, *, end="commit"):
        with engine.connect() as other, ThreadPoolExecutor(1) as thread:
            if engine.dialect.name == "sqlite":
                other.exec_driver_sql("PRAGMA foreign_keys = ON")
                other.exec_driver_sql("BEGIN IMMEDIATE")
            other.execute(text(statement))
            answer = thread.submit(client.request, method, url, json=body)
            time.sleep(0.15)
            assert not answer.done()  # otherwise there was no race
            getattr(other, end)()
            return answer.result()  # no time limit: the machine may be busy

    yield send
    engine.dispose()


def statuses(responses):
    return sorted(response.status_code for response in responses)


@pytest.mark.parametrize("member", ["username", "email"])
def test_one_of_several_equal_users_created_at_once_is_stored(client, at_once, member):
    for turn in range(ROUNDS):
        bodies = [
            {"username": f"user{turn}-{number}", "email": f"user{turn}-{number}@example.com"}
            | {member: f"same{turn}@example.com"}
            for number in range(THREADS)
        ]

        responses = at_once(*(("POST", "/api/users", body) for body in bodies))

        assert statuses(responses) == [201] + [400] * (THREADS - 1)
        assert {r.json()["type"] for r in responses if r.status_code == 400} == {TAKEN[member]}
        created = [response.json() for response in responses if response.status_code == 201]
        assert [
            user for user in client.get("/api/users").json() if user[member] == f"same{turn}@example.com"
        ] == created


@pytest.mark.parametrize("member", ["username", "email"])
def test_one_of_several_users_renamed_to_one_name_at_once_gets_it(client, at_once, make_user, member):
    for turn in range(ROUNDS):
        users = [make_user() for _ in range(THREADS)]

        responses = at_once(
            *(("PUT", f"/api/users/{user['id']}", {member: f"same{turn}@example.com"}) for user in users)
        )

        assert statuses(responses) == [200] + [400] * (THREADS - 1)
        assert {r.json()["type"] for r in responses if r.status_code == 400} == {TAKEN[member]}
        now = [client.get(f"/api/users/{user['id']}").json() for user in users]
        assert sum(before != after for before, after in zip(users, now, strict=True)) == 1


def test_a_name_goes_to_either_the_created_or_the_renamed_user(client, at_once, make_user):
    for turn in range(ROUNDS):
        user = make_user()
        name = f"same{turn}"

        responses = at_once(
            ("POST", "/api/users", {"username": name, "email": f"{name}@example.com"}),
            ("PUT", f"/api/users/{user['id']}", {"username": name}),
        )

        assert statuses(responses) in ([200, 400], [201, 400])
        assert [found["username"] for found in client.get("/api/users").json()].count(name) == 1


def test_one_of_several_deletes_at_once_succeeds(client, at_once, make_user, make_post):
    for _ in range(ROUNDS):
        user = make_user()
        make_post(user_id=user["id"])

        responses = at_once(*[("DELETE", f"/api/users/{user['id']}", None)] * THREADS)

        assert statuses(responses) == [200] + [GONE] * (THREADS - 1)
        assert {r.json()["error"] for r in responses if r.status_code == GONE} == {"User not found"}
        assert client.get("/api/posts").json() == []


def test_one_of_several_deletes_of_a_post_at_once_succeeds(client, at_once, make_post):
    for _ in range(ROUNDS):
        post = make_post()

        responses = at_once(*[("DELETE", f"/api/posts/{post['id']}", None)] * THREADS)

        assert statuses(responses) == [200] + [GONE] * (THREADS - 1)


def test_posts_created_while_their_author_is_deleted(client, at_once, make_user):
    for turn in range(ROUNDS):
        user = make_user()
        body = {"title": f"Post {turn}", "content": "Content", "user_id": user["id"]}

        deleted, *created = at_once(
            ("DELETE", f"/api/users/{user['id']}", None), *[("POST", "/api/posts", body)] * (THREADS - 1)
        )

        assert deleted.status_code == 200
        assert {response.status_code for response in created} <= {201, 400}
        assert {r.json()["type"] for r in created if r.status_code == 400} <= {"urn:problem:unknown-user"}
        assert client.get("/api/posts").json() == []


def test_no_change_is_lost_when_two_change_one_user(client, at_once, make_user):
    for turn in range(ROUNDS):
        user = make_user()
        url = f"/api/users/{user['id']}"

        responses = at_once(
            ("PUT", url, {"username": f"changed{turn}"}), ("PUT", url, {"email": f"changed{turn}@example.com"})
        )

        assert statuses(responses) == [200, 200]
        assert client.get(url).json() == {
            "id": user["id"],
            "username": f"changed{turn}",
            "email": f"changed{turn}@example.com",
        }


def test_users_created_at_once_have_different_ids(at_once):
    responses = at_once(
        *(("POST", "/api/users", {"username": f"u{number}", "email": f"u{number}@a.b"}) for number in range(12))
    )

    assert statuses(responses) == [201] * 12
    assert len({response.json()["id"] for response in responses}) == 12


def test_400_when_the_author_is_deleted_while_the_post_is_created(client, held_up, user):
    response = held_up(
        "DELETE FROM users WHERE id = 1", "POST", "/api/posts", {"title": "Title", "content": "Content", "user_id": 1}
    )

    assert response.status_code == 400
    assert response.json()["type"] == "urn:problem:unknown-user"
    assert client.get("/api/posts").json() == []


def test_201_when_the_deletion_of_the_author_is_rolled_back(client, held_up, user):
    response = held_up(
        "DELETE FROM users WHERE id = 1",
        *("POST", "/api/posts", {"title": "Title", "content": "Content", "user_id": 1}),
        end="rollback",
    )

    assert response.status_code == 201
    assert client.get("/api/posts").json() == [response.json()]


def test_200_and_a_post_created_during_the_deletion_of_its_author_is_deleted_too(client, held_up, user):
    response = held_up(
        "INSERT INTO posts (title, content, user_id) VALUES ('Title', 'Content', 1)", "DELETE", "/api/users/1"
    )

    assert response.status_code == 200
    assert client.get("/api/posts").json() == []


@pytest.mark.parametrize(("member", "value"), [("username", "ann"), ("email", "ann@example.com")])
def test_400_when_the_name_is_taken_meanwhile(client, held_up, member, value):
    body = {"username": "bob", "email": "bob@example.com"} | {member: value}

    response = held_up(
        "INSERT INTO users (username, email) VALUES ('ann', 'ann@example.com')", "POST", "/api/users", body
    )

    assert response.status_code == 400
    assert response.json()["type"] == TAKEN[member]
    assert [user["username"] for user in client.get("/api/users").json()] == ["ann"]


def test_201_when_the_name_becomes_free_meanwhile(client, held_up, make_user):
    make_user(username="ann", email="ann@example.com")

    response = held_up("DELETE FROM users", "POST", "/api/users", {"username": "ann", "email": "ann@example.com"})

    assert response.status_code == 201
    assert client.get("/api/users").json() == [response.json()]


@pytest.mark.parametrize(("member", "value"), [("username", "ann"), ("email", "ann@example.com")])
def test_400_when_the_new_name_is_taken_meanwhile(client, held_up, user, member, value):
    response = held_up(
        "INSERT INTO users (username, email) VALUES ('ann', 'ann@example.com')",
        *("PUT", "/api/users/1", {member: value}),
    )

    assert response.status_code == 400
    assert response.json()["type"] == TAKEN[member]
    assert client.get("/api/users/1").json() == user


@pytest.mark.parametrize(("method", "body"), [("PUT", {"username": "ann"}), ("DELETE", None)])
def test_404_when_the_user_is_deleted_meanwhile(client, held_up, user, method, body):
    response = held_up("DELETE FROM users WHERE id = 1", method, "/api/users/1", body)

    assert response.status_code == GONE
    assert response.json()["error"] == "User not found"
    assert client.get("/api/users").json() == []


@pytest.mark.parametrize("statement", ["DELETE FROM posts WHERE id = 1", "DELETE FROM users"])
@pytest.mark.parametrize(("method", "body"), [("PUT", {"title": "New"}), ("DELETE", None)])
def test_404_when_the_post_is_deleted_meanwhile(client, held_up, post, statement, method, body):
    response = held_up(statement, method, "/api/posts/1", body)

    assert response.status_code == GONE
    assert response.json()["error"] == "Post not found"
    assert client.get("/api/posts").json() == []


def test_a_change_builds_on_the_one_before(client, held_up, user):
    response = held_up(
        "UPDATE users SET email = 'new@example.com' WHERE id = 1", "PUT", "/api/users/1", {"username": "new"}
    )

    assert response.json() == {"id": 1, "username": "new", "email": "new@example.com"}
    assert client.get("/api/users/1").json() == response.json()
