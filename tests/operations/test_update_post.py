"""PUT /posts/{post_id}."""

import pytest

from tests.operations import values


def test_200_with_both_changed(client, make_post):
    post, other = make_post(), make_post()

    response = client.put("/api/posts/1", json={"title": "Updated Post", "content": "Updated content"})

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {**post, "title": "Updated Post", "content": "Updated content"}
    assert client.get("/api/posts").json() == [response.json(), other]


@pytest.mark.parametrize("changes", [{"title": "Updated Post"}, {"content": "Updated content\n"}])
def test_200_with_the_members_that_were_not_sent_unchanged(client, post, changes):
    response = client.put("/api/posts/1", json=changes)

    assert response.status_code == 200
    assert response.json() == {**post, **changes}
    assert client.get("/api/posts/1").json() == response.json()


def test_200_when_nothing_changes(client, post):
    response = client.put("/api/posts/1", json={"title": post["title"], "content": post["content"]})

    assert response.status_code == 200
    assert response.json() == post


def test_400_when_nothing_is_sent_to_change(client, post, invalid):
    response = client.put("/api/posts/1", json={})

    assert response.status_code == 400
    assert response.json() == invalid(("body", "", "must have at least 1 member"))


def test_400_for_another_author(client, post, user, invalid):
    response = client.put("/api/posts/1", json={"title": "Updated Post", "user_id": user["id"]})

    assert response.status_code == 400
    assert response.json() == invalid(("body", "/user_id", "is not a known member"))
    assert client.get("/api/posts/1").json() == post


@pytest.mark.parametrize(("title", "detail"), [*values.LINES_REFUSED, ("a" * 101, "must have at most 100 characters")])
def test_400_for_an_invalid_title(client, post, invalid, title, detail):
    response = client.put("/api/posts/1", json={"title": title})

    assert response.status_code == 400
    assert response.json() == invalid(("body", "/title", detail))


@pytest.mark.parametrize("value", values.NOT_TEXTS)
@pytest.mark.parametrize("member", ["title", "content"])
def test_400_for_a_value_that_is_not_a_text(client, post, invalid, member, value):
    response = client.put("/api/posts/1", json={member: value})

    assert response.status_code == 400
    assert response.json() == invalid(("body", f"/{member}", "must be a string"))


def test_400_names_every_fault(client, invalid):
    response = client.put("/api/posts/one?force=1", json={"title": " ", "content": "", "author": None})

    assert response.status_code == 400
    assert response.json() == invalid(
        ("path", "/post_id", "must be an integer"),
        ("query", "/force", "is not a known parameter"),
        ("body", "/author", "is not a known member"),
        ("body", "/content", "must have at least 1 character"),
        ("body", "/title", values.NOT_A_LINE),
    )


def test_404_when_there_is_no_such_post(client, post, problem):
    response = client.put("/api/posts/999", json={"title": "Updated Post"})

    assert response.status_code == 404
    assert response.json() == problem(404, "Post not found")
    assert client.get("/api/posts").json() == [post]
