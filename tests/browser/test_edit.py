"""Swagger UI: a person changes what they have read, and cannot undo what somebody else has changed since."""

from uuid import uuid4


def test_an_edit_with_a_stale_tag_is_refused_and_one_with_the_current_tag_is_not(swagger):
    name = f"ada-{uuid4().hex[:8]}"
    created = swagger.execute("create_user", {"username": name, "email": f"{name}@example.com"})
    ident, tag = created.body["id"], created.headers["etag"]
    somebody_else = swagger.execute("update_user", {"email": f"{name}@example.org"}, user_id=ident)

    stale = swagger.execute("update_user", {"username": f"{name}-1"}, **{"user_id": ident, "If-Match": tag})
    current = swagger.execute("get_user", user_id=ident)
    edited = swagger.execute(
        "update_user", {"username": f"{name}-1"}, **{"user_id": ident, "If-Match": current.headers["etag"]}
    )

    assert somebody_else.status == 200
    assert (stale.status, stale.body["type"]) == (412, "urn:problem:precondition-failed")
    assert stale.headers["etag"] == current.headers["etag"] != tag
    assert current.body == {"id": ident, "username": name, "email": f"{name}@example.org"}
    assert (edited.status, edited.body) == (200, {**current.body, "username": f"{name}-1"})


def test_a_delete_with_a_stale_tag_is_refused(swagger):
    name = f"eve-{uuid4().hex[:8]}"
    created = swagger.execute("create_user", {"username": name, "email": f"{name}@example.com"})
    ident, tag = created.body["id"], created.headers["etag"]
    changed = swagger.execute("update_user", {"email": f"{name}@example.org"}, user_id=ident)

    stale = swagger.execute("delete_user", **{"user_id": ident, "If-Match": tag})
    deleted = swagger.execute("delete_user", **{"user_id": ident, "If-Match": changed.headers["etag"]})

    assert (stale.status, deleted.status) == (412, 200)


def test_nobody_sends_a_precondition_without_having_written_it(swagger):
    """Swagger UI fills in examples of parameters, so these parameters have none."""
    for name in ("get_user", "update_user", "delete_user", "get_post", "update_post", "delete_post"):
        operation = swagger.expand(name)
        operation.get_by_role("button", name="Try it out").click()
        header = operation.locator("tr[data-param-name^='If-'] input")

        assert header.input_value() == ""


def test_304_is_shown_without_a_body(swagger):
    name = f"bob-{uuid4().hex[:8]}"
    created = swagger.execute("create_user", {"username": name, "email": f"{name}@example.com"})

    operation = swagger.expand("get_user")
    operation.get_by_role("button", name="Try it out").click()
    for key, value in {"user_id": created.body["id"], "If-None-Match": created.headers["etag"]}.items():
        operation.locator(f"tr[data-param-name='{key}'] input").fill(str(value))
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table .response")
    answer.wait_for()

    assert answer.locator(".response-col_status").text_content().strip().startswith("304")
