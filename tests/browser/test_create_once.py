"""Swagger UI in a real browser: a person creates twice with one idempotency key."""

KEY = "Idempotency-Key"


def test_a_user_is_created_once_with_one_key(swagger):
    body = {"username": "once", "email": "once@example.com"}
    first = swagger.execute("create_user", body, **{KEY: "browser-1"})
    again = swagger.execute("create_user", body, **{KEY: '"browser-1"'})
    other = swagger.execute("create_user", {**body, "email": "twice@example.com"}, **{KEY: "browser-1"})

    assert (first.status, again.status) == (201, 201)
    assert (again.body, again.headers["location"]) == (first.body, first.headers["location"])
    assert (other.status, other.body["type"]) == (422, "urn:problem:idempotency-key-reused")


def test_the_field_of_the_key_is_empty_at_first(swagger):
    """Otherwise the second user of a visitor would be refused with 422."""
    shown = swagger.expand("create_post")
    shown.get_by_role("button", name="Try it out").click()

    assert shown.locator(f"tr[data-param-name='{KEY}'] input").input_value() == ""
