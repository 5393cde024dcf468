"""Paths to operations."""

import pytest

from contractapp.compile.routes import Routes


@pytest.fixture
def routes() -> Routes:
    routes = Routes()
    for method, path in [
        ("GET", "/users"),
        ("POST", "/users"),
        ("GET", "/users/{user_id}"),
        ("DELETE", "/users/{user_id}"),
        ("GET", "/users/me"),
        ("GET", "/users/{user_id}/posts/{post_id}"),
        ("PUT", "/users/me/picture"),
        ("POST", "/"),
    ]:
        routes.add(path, method, None)
    return routes


@pytest.mark.parametrize(
    ("path", "template", "values"),
    [
        ("/users", "/users", []),
        ("/users/5", "/users/{user_id}", ["5"]),
        ("/users/me", "/users/me", []),
        ("/users/me/picture", "/users/me/picture", []),
        ("/users/me/posts/2", "/users/{user_id}/posts/{post_id}", ["me", "2"]),
        ("/users/{user_id}", "/users/{user_id}", ["{user_id}"]),
        ("/users/..", "/users/{user_id}", [".."]),
        ("/", "/", []),
    ],
)
def test_a_literal_segment_goes_before_a_parameter(routes, path, template, values):
    match = routes.find(path)

    assert (match.route.template, match.values) == (template, values)


@pytest.mark.parametrize(
    "path",
    ["", "//", "users", "/users/", "//users", "/users//", "/users/5/", "/users//posts/2", "/users/5/posts", "/USERS"],
)
def test_no_other_path_is_found(routes, path):
    assert routes.find(path) is None


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/users", "GET, HEAD, OPTIONS, POST"),
        ("/users/5", "DELETE, GET, HEAD, OPTIONS"),
        ("/users/me/picture", "OPTIONS, PUT"),
    ],
)
def test_allow_lists_every_method_of_the_path(routes, path, allow):
    assert routes.find(path).route.allow == allow


def test_all_routes_can_be_listed(routes):
    assert {route.template for route in routes} == {
        "/",
        "/users",
        "/users/me",
        "/users/me/picture",
        "/users/{user_id}",
        "/users/{user_id}/posts/{post_id}",
    }


def test_many_segments_cost_no_stack(routes):
    assert routes.find("/users" + "/a" * 100_000) is None
