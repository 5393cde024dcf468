"""POST /posts."""

import pytest

from tests.operations import values

CONTENTS = [
    "a",
    " ",
    "\n",
    "First line\nSecond line\n",
    "Windows\r\n\ttab\x1b[0m\x7f\x85",
    "\u00a0 blanks at both ends \u2028",
    "e\u0301 is not \u00e9",
    "\ufeff\uffff\U0010ffff",
    "😀" * 65_536,
]


@pytest.fixture
def new(user):
    """A valid body."""
    return {"title": "Test Post", "content": "This is a test post content", "user_id": user["id"]}


def test_201_with_the_new_post_and_its_author(client, make_user):
    make_user()
    author = make_user(username="author", email="author@example.com")

    response = client.post(
        "/api/posts",
        json={"title": "Test Post", "content": "This is a test post content", "user_id": author["id"]},
    )

    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    assert response.headers["location"] == "/api/posts/1"
    assert response.json() == {
        "id": 1,
        "title": "Test Post",
        "content": "This is a test post content",
        "user_id": 2,
        "author": {"id": 2, "username": "author", "email": "author@example.com"},
    }
    assert client.get("/api/posts").json() == [response.json()]


def test_201_with_the_post_found_at_its_location(client, new):
    created = client.post("/api/posts", json=new)

    assert client.get(created.headers["location"]).json() == created.json()


@pytest.mark.parametrize("title", [*values.LINES, "李" * 100])
def test_201_with_the_title_as_it_was_sent(client, user, new, title):
    response = client.post("/api/posts", json={**new, "title": title})

    assert response.status_code == 201
    assert response.json() == {"id": 1, **new, "title": title, "author": user}
    assert client.get("/api/posts/1").json() == response.json()


@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
def test_201_with_the_content_as_it_was_sent(client, user, new, content):
    response = client.post("/api/posts", json={**new, "content": content})

    assert response.status_code == 201
    assert response.json() == {"id": 1, **new, "content": content, "author": user}
    assert client.get("/api/posts/1").json() == response.json()


def test_201_for_the_longest_body_there_is(client, user):
    text = "\\ud83d\\ude00"  # 12 bytes for one character
    escaped = f'{{"title": "{text * 100}", "content": "{text * 65_536}", "user_id": 1}}'

    response = client.post("/api/posts", content=escaped, headers={"Content-Type": "application/json"})

    assert response.status_code == 201
    assert response.json() == {"id": 1, "title": "😀" * 100, "content": "😀" * 65_536, "user_id": 1, "author": user}


def test_201_for_the_same_post_again(client, user, new):
    client.post("/api/posts", json=new)

    response = client.post("/api/posts", json=new)

    assert response.status_code == 201
    assert response.json() == {"id": 2, **new, "author": user}


def test_201_with_an_id_that_no_deleted_post_had(client, new):
    client.post("/api/posts", json=new)
    client.delete("/api/posts/1")

    response = client.post("/api/posts", json=new)

    assert response.json()["id"] == 2


@pytest.mark.parametrize("user_id", [999, 2**53 - 1])
def test_400_when_the_author_does_not_exist(client, new, user_id):
    response = client.post("/api/posts", json={**new, "user_id": user_id})

    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "urn:problem:unknown-user",
        "title": "Unknown user",
        "status": 400,
        "detail": "User not found",
        "error": "User not found",
        "errors": [{"in": "body", "pointer": "/user_id", "detail": "User not found"}],
    }
    assert client.get("/api/posts").json() == []


def test_400_when_the_author_was_deleted(client, new):
    client.delete("/api/users/1")

    response = client.post("/api/posts", json=new)

    assert response.status_code == 400
    assert response.json()["type"] == "urn:problem:unknown-user"


@pytest.mark.parametrize("missing", ["title", "content", "user_id"])
def test_400_when_a_member_is_missing(client, new, invalid, missing):
    del new[missing]

    response = client.post("/api/posts", json=new)

    assert response.status_code == 400
    assert response.json() == invalid(("body", f"/{missing}", "is required"))
    assert client.get("/api/posts").json() == []


@pytest.mark.parametrize(("title", "detail"), [*values.LINES_REFUSED, ("a" * 101, "must have at most 100 characters")])
def test_400_for_an_invalid_title(client, new, invalid, title, detail):
    response = client.post("/api/posts", json={**new, "title": title})

    assert response.status_code == 400
    assert response.json() == invalid(("body", "/title", detail))


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        ("", "must have at least 1 character"),
        ("a" * 65_537, "must have at most 65536 characters"),
        ("\0", values.NUL),
        ("a\0b", values.NUL),
    ],
    ids=["empty", "long", "NUL", "NUL inside"],
)
def test_400_for_an_invalid_content(client, new, invalid, content, detail):
    response = client.post("/api/posts", json={**new, "content": content})

    assert response.status_code == 400
    assert response.json() == invalid(("body", "/content", detail))


@pytest.mark.parametrize("value", values.NOT_TEXTS)
@pytest.mark.parametrize("member", ["title", "content"])
def test_400_for_a_value_that_is_not_a_text(client, new, invalid, member, value):
    response = client.post("/api/posts", json={**new, member: value})

    assert response.status_code == 400
    assert response.json() == invalid(("body", f"/{member}", "must be a string"))


@pytest.mark.parametrize(
    ("user_id", "detail"),
    [
        (b"0", "must be at least 1"),
        (b"-1", "must be at least 1"),
        (b"9007199254740992", "must be at most 9007199254740991"),
        (b"18446744073709551616", "must be at most 9007199254740991"),
        *((text, values.NOT_AN_INTEGER) for text in (b"1.0", b"1.5", b"1e0", b'"1"', b"true", b"null", b"[1]", b"{}")),
    ],
)
def test_400_for_an_invalid_id(client, user, invalid, user_id, detail):
    response = client.post(
        "/api/posts",
        content=b'{"title": "Test Post", "content": "Content", "user_id": ' + user_id + b"}",
        headers={"Content-Type": "application/json"},
    )

    assert response.status_code == 400
    assert response.json() == invalid(("body", "/user_id", detail))


@pytest.mark.parametrize("member", ["id", "author", "User_id"])
def test_400_for_a_member_that_is_not_known(client, new, invalid, member):
    response = client.post("/api/posts", json={**new, member: 1})

    assert response.status_code == 400
    assert response.json() == invalid(("body", f"/{member}", "is not a known member"))


def test_400_names_every_fault(client, invalid):
    response = client.post("/api/posts?draft", json={"title": "", "user_id": "one", "author": {"id": 1}})

    assert response.status_code == 400
    assert response.json() == invalid(
        ("query", "/draft", "is not a known parameter"),
        ("body", "/author", "is not a known member"),
        ("body", "/content", "is required"),
        ("body", "/title", "must have at least 1 character"),
        ("body", "/user_id", "must be an integer"),
    )
