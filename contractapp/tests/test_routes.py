"""Routes: finding the operation of a path."""

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
def test_a_literal_segment_takes_precedence_over_a_parameter(routes, path, template, values):
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


def test_many_segments_need_no_recursion(routes):
    assert routes.find("/users" + "/a" * 100_000) is None


@pytest.fixture(params=[1, -1], ids=["in this order", "in the other"])
def partly(request) -> Routes:
    """Routes with segments that are partly a parameter."""
    routes = Routes()
    paths = [
        "/x/{id}",
        "/x/{id}.json",
        "/x/{id}.min.json",
        "/x/v{major}.{minor}",
        "/x/latest.json",
        "/x/{id}/{part}",
        "/x/{id}.json/{part}",
        "/x/{id}.json/lines",
        "/y/{a}{b}",
        "/y/{a}-{b}-{c}",
    ]
    for path in paths[:: request.param]:
        routes.add(path, "GET", None)
    return routes


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/x/1", "/x/{id}"),
        ("/x/1.json", "/x/{id}.json"),
        ("/x/a.b.json", "/x/{id}.json"),
        ("/x/1.min.json", "/x/{id}.min.json"),
        ("/x/latest.json", "/x/latest.json"),
        ("/x/v1.2", "/x/v{major}.{minor}"),
        ("/x/v1.", "/x/{id}"),
        ("/x/v.2", "/x/{id}"),
        ("/x/.json", "/x/{id}"),
        ("/x/1.json5", "/x/{id}"),
        ("/x/1/a", "/x/{id}/{part}"),
        ("/x/1.json/a", "/x/{id}.json/{part}"),
        ("/x/1.json/lines", "/x/{id}.json/lines"),
        ("/x/1.min.json/a", "/x/{id}.json/{part}"),
        ("/y/ab", "/y/{a}{b}"),
        ("/y/a-b", "/y/{a}{b}"),
        ("/y/a-b-c", "/y/{a}-{b}-{c}"),
        ("/y/a--b-c", "/y/{a}-{b}-{c}"),
    ],
)
def test_more_literal_text_takes_precedence(partly, path, template):
    assert partly.find(path).route.template == template


@pytest.mark.parametrize("path", ["/x/", "/y/a", "/y/", "/x"])
def test_each_parameter_matches_at_least_one_character(partly, path):
    assert partly.find(path) is None


def test_a_long_segment_takes_linear_time(partly):
    assert partly.find("/y/" + "-a" * 1_000_000 + "/") is None


@pytest.mark.parametrize("order", [1, -1], ids=["in this order", "in the other"])
def test_a_path_with_a_suffix_is_another_route(ask, compiled, contract, order, caplog):
    def parameter(name):
        return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}

    def get_x(x_id):
        return {"compiled": x_id}

    def get_x_as_json(x_id):
        return {"stock": x_id}

    paths = {
        "/x/{x_id}": {"get": {"operationId": "get_x", "parameters": [parameter("x_id")]}},
        "/x/{x_id}.json": {"get": {"operationId": "get_x_as_json", "parameters": [parameter("x_id")]}},
    }
    app = compiled(contract(dict(list(paths.items())[::order])), get_x, get_x_as_json)

    assert ask(app, "GET", "/x/1").json() == {"compiled": "1"}
    assert ask(app, "GET", "/x/1.xml").json() == {"compiled": "1.xml"}
    assert ask(app, "GET", "/x/1.json").json() == {"stock": "1"}
    assert (
        "get_x_as_json is left to stock Connexion: it has a path segment that is only partly a parameter."
        in caplog.text
    )
