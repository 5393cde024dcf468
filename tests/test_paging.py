"""Following `Link` through a list."""

from base64 import urlsafe_b64encode
from itertools import chain, pairwise
from urllib.parse import parse_qs, urlsplit

import pytest

LISTS = ["/api/users", "/api/posts", "/api/posts?user_id=1"]

LOST = [{"in": "query", "pointer": "/cursor", "detail": "is not a cursor of this list"}]


def following(response):
    """The URL of the next page; None after the last page."""
    link = response.headers.get("link")
    if link is None:
        return None
    target, relation = link.split(">; ")
    assert relation == 'rel="next"'
    return target.removeprefix("<")


def pages(client, url):
    """The items of each page from this one on."""
    found = []
    while url is not None:
        response = client.get(url)
        assert response.status_code == 200
        found.append(response.json())
        url = following(response)
    return found


def ids(items):
    return [item["id"] for item in items]


def parameters(url):
    return parse_qs(urlsplit(url).query)


def cursor(response):
    (found,) = parameters(following(response))["cursor"]
    return found


@pytest.fixture
def seven(make_user, make_post):
    """Seven users and seven posts; the first user wrote the first five posts and the last post."""
    users = [make_user() for _ in range(7)]
    return [make_post(user_id=users[1 if number == 5 else 0]["id"]) for number in range(7)]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 100])
@pytest.mark.parametrize("url", ["/api/users", "/api/posts"])
def test_every_item_comes_once_and_in_order(client, seven, url, limit):
    found = pages(client, f"{url}?limit={limit}")

    assert ids(chain.from_iterable(found)) == [1, 2, 3, 4, 5, 6, 7]
    assert [len(page) for page in found] == [limit] * (7 // limit) + [7 % limit] * (7 % limit > 0)


@pytest.mark.parametrize("limit", [1, 2, 4, 6])
def test_every_item_of_a_filter_comes_once_and_in_order(client, seven, limit):
    found = pages(client, f"/api/posts?user_id=1&limit={limit}")

    assert ids(chain.from_iterable(found)) == [1, 2, 3, 4, 5, 7]
    assert [len(page) for page in found] == [limit] * (6 // limit) + [6 % limit] * (6 % limit > 0)


def test_every_item_of_many_comes_once(client, make_user):
    for _ in range(250):
        make_user()

    found = pages(client, "/api/users")

    assert [len(page) for page in found] == [100, 100, 50]
    assert ids(chain.from_iterable(found)) == list(range(1, 251))


@pytest.mark.parametrize(("url", "count"), [("/api/users", 7), ("/api/posts", 7), ("/api/posts?user_id=1", 6)])
def test_a_link_is_present_exactly_when_more_items_follow(client, seven, url, count):
    separator = "&" if "?" in url else "?"
    links = {limit: following(client.get(f"{url}{separator}limit={limit}")) for limit in (count - 1, count, count + 1)}

    assert {limit: link is not None for limit, link in links.items()} == {
        count - 1: True,
        count: False,
        count + 1: False,
    }


def test_the_posts_of_others_make_no_link(client, make_user, make_post):
    user = make_user()
    make_post(user_id=user["id"])
    make_post()

    response = client.get("/api/posts", params={"user_id": user["id"], "limit": 1})

    assert following(response) is None


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("user_id=1&limit=2", {"user_id": ["1"], "limit": ["2"]}),
        ("limit=2&user_id=1", {"user_id": ["1"], "limit": ["2"]}),
        ("limit=2", {"limit": ["2"]}),
    ],
)
def test_a_link_keeps_every_parameter(client, seven, query, kept):
    first = following(client.get(f"/api/posts?{query}"))
    second = following(client.get(first))

    for url in (first, second):
        found = parameters(url)
        del found["cursor"]
        assert urlsplit(url).path == "/api/posts"
        assert found == kept


def test_a_link_is_a_path_that_needs_no_escaping(client, seven):
    link = client.get("/api/posts?user_id=1&limit=1").headers["link"]

    assert link.startswith("</api/posts?")
    assert link.isascii()
    assert " " not in link.split(">")[0]


def test_another_limit_may_be_asked_for_midway(client, seven):
    first = client.get("/api/posts?limit=2")

    response = client.get("/api/posts", params={"cursor": cursor(first), "limit": 3})

    assert ids(response.json()) == [3, 4, 5]


def test_a_page_can_be_asked_for_again(client, seven):
    url = following(client.get("/api/posts?limit=2"))

    assert client.get(url).content == client.get(url).content


@pytest.mark.parametrize("source", LISTS)
@pytest.mark.parametrize("target", [*LISTS, "/api/posts?user_id=2", "/api/posts?user_id=11"])
def test_a_cursor_is_valid_only_for_its_list_and_filter(client, seven, source, target):
    first = client.get(source, params={**parameters(source), "limit": 1})

    response = client.get(target, params={**parameters(target), "cursor": cursor(first)})

    if source == target:
        assert response.status_code == 200
        assert ids(response.json())[0] == 2
    else:
        assert response.status_code == 400
        assert response.json()["errors"] == LOST


def test_a_cursor_changed_anywhere_is_refused(client, seven):
    good = cursor(client.get("/api/posts?limit=2"))
    changed = [good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :] for place in range(len(good))]

    refused = [
        client.get("/api/posts", params={"cursor": text}) for text in [*changed, good[:-1], good + "A", good * 2]
    ]

    # The last digits of the id may be changed: the result is a valid cursor for another place in the same list.
    places = [response.json() for response in refused if response.status_code == 200]
    assert all(ids(page) == sorted(ids(page)) for page in places)
    assert len(places) < 3
    assert all(response.json()["errors"] == LOST for response in refused if response.status_code != 200)


@pytest.mark.parametrize("after", [0, -1, 2**53, 2**63, 2**64, 2**70, 10**400])
def test_a_cursor_with_an_id_out_of_range_is_refused(client, after):
    text = urlsafe_b64encode(f"users?>{after}".encode()).decode().rstrip("=")

    response = client.get("/api/users", params={"cursor": text})

    assert response.status_code == 400
    assert [fault["pointer"] for fault in response.json()["errors"]] == ["/cursor"]


def test_a_cursor_with_the_greatest_id_is_accepted(client):
    text = urlsafe_b64encode(f"users?>{2**53 - 1}".encode()).decode().rstrip("=")

    response = client.get("/api/users", params={"cursor": text})

    assert (response.status_code, response.json()) == (200, [])


def test_items_deleted_between_two_pages_are_left_out(client, seven):
    first = client.get("/api/posts?limit=2")
    for post_id in (1, 2, 3):  # before, at and after the place where the next page begins
        client.delete(f"/api/posts/{post_id}")

    rest = pages(client, following(first))

    assert ids(first.json()) == [1, 2]
    assert ids(chain.from_iterable(rest)) == [4, 5, 6, 7]


def test_items_created_between_two_pages_come_at_the_end(client, seven, make_post):
    first = client.get("/api/posts?limit=4")
    make_post()

    rest = pages(client, following(first))

    assert ids(chain.from_iterable(rest)) == [5, 6, 7, 8]


def test_a_page_whose_items_were_all_deleted_is_empty(client, seven):
    first = client.get("/api/posts?limit=5")
    client.delete("/api/users/1")
    client.delete("/api/users/2")

    response = client.get(following(first))

    assert response.status_code == 200
    assert response.json() == []
    assert following(response) is None


def test_ids_of_two_digits_follow_those_of_one(client, make_user):
    for _ in range(12):
        make_user()

    found = pages(client, "/api/users?limit=5")

    assert all(before < after for before, after in pairwise(ids(chain.from_iterable(found))))
    assert [len(page) for page in found] == [5, 5, 2]
