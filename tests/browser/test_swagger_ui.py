"""Swagger UI in a real browser, on the real server: what its reader sees and can do."""

import re
from pathlib import Path

import orjson
import pytest
from playwright.sync_api import Error, expect

from tests.browser.reader import CONTRACT, PREFIX, ROOT

OPERATIONS = [
    pytest.param(path, method, operation, id=operation["operationId"])
    for path, item in CONTRACT["paths"].items()
    for method, operation in item.items()
    if method in {"get", "put", "post", "delete"}
]
PHONE = {"viewport": {"width": 375, "height": 667}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


def resolved(node):
    while "$ref" in node:
        target = CONTRACT
        for segment in node["$ref"][2:].split("/"):
            target = target[segment]
        node = target
    return node


def text_of(markdown):
    """The text of rendered Markdown, for the subset that the contract's descriptions use."""
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", markdown.replace("`", ""))
    return " ".join(text.split())


def read(locator):
    return [" ".join(text.split()) for text in locator.all_text_contents()]


def examples_of(content):
    return {name: resolved(example) for name, example in content.get("examples", {}).items()}


def test_every_operation_stands_under_its_tag(swagger):
    sections = swagger.page.locator(".opblock-tag-section").all()

    shown = {
        section.locator(".opblock-tag").get_attribute("data-tag"): [
            (
                operation.locator(".opblock-summary-method").text_content(),
                operation.locator(".opblock-summary-path").get_attribute("data-path"),
                operation.locator(".opblock-summary-description").text_content(),
            )
            for operation in section.locator(".opblock").all()
        ]
        for section in sections
    }
    assert shown == {
        tag["name"]: [
            (method.upper(), path, operation["summary"])
            for path, method, operation in (parameters.values for parameters in OPERATIONS)
            if operation["tags"] == [tag["name"]]
        ]
        for tag in CONTRACT["tags"]
    }


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_an_operation_shows_its_description_parameters_examples_and_responses(swagger, path, method, operation):
    shown = swagger.expand(operation["operationId"])

    assert read(shown.locator(".opblock-description")) == [text_of(operation["description"])]
    parameters = [
        resolved(parameter)
        # Swagger UI shows the parameters of the operation before those of the path.
        for parameter in [*operation.get("parameters", []), *CONTRACT["paths"][path].get("parameters", [])]
    ]
    rows = shown.locator(".parameters tr[data-param-name]")
    assert [row.get_attribute("data-param-name") for row in rows.all()] == [p["name"] for p in parameters]
    described = [read(row.locator(".parameters-col_description > .renderedMarkdown"))[0] for row in rows.all()]
    assert described == [text_of(parameter["description"]) for parameter in parameters]
    if "requestBody" in operation:
        examples = examples_of(operation["requestBody"]["content"]["application/json"])
        body = shown.locator(".opblock-section-request-body")
        assert read(body.locator(".examples-select option")) == [example["summary"] for example in examples.values()]
        for name, example in examples.items():
            body.locator(".examples-select select").select_option(name)
            expect(body.locator(".highlight-code pre")).to_have_text(re.compile(r"^\{"))
            assert orjson.loads(body.locator(".highlight-code pre").text_content()) == example["value"]
    rows = shown.locator("tr.response[data-code]")
    assert [row.get_attribute("data-code") for row in rows.all()] == list(operation["responses"])
    for row, reference in zip(rows.all(), operation["responses"].values(), strict=True):
        response = resolved(reference)
        assert read(row.locator(".response-col_description__inner")) == [text_of(response["description"])]
        assert read(row.locator(".headers tbody td:first-child")) == list(response.get("headers", {}))
        if "content" not in response:  # a 304
            continue
        (content,) = response["content"].values()
        examples = examples_of(content)
        assert read(row.locator(".examples-select option")) == [example["summary"] for example in examples.values()]
        for name, example in examples.items():
            row.locator(".examples-select select").select_option(name)
            assert orjson.loads(row.locator("pre.example").text_content()) == example["value"]


def live_through(swagger, base_path):
    """The whole life of a user and a post, by way of "Try it out"; the address of every answer in it is checked."""
    created = swagger.execute("create_user", {"username": "ada", "email": "ada@example.com"})
    user = created.body
    assert (created.status, user) == (201, {"id": user["id"], "username": "ada", "email": "ada@example.com"})
    assert created.url == f"{swagger.origin}{base_path}/users"
    assert created.headers["location"] == f"{base_path}/users/{user['id']}"

    changed = swagger.execute("update_user", {"username": "lovelace"}, user_id=user["id"])
    user["username"] = "lovelace"
    assert (changed.status, changed.body) == (200, user)

    written = swagger.execute("create_post", {"title": "Notes", "content": "One\nTwo", "user_id": user["id"]})
    post = written.body
    expected = {"id": post["id"], "title": "Notes", "content": "One\nTwo", "user_id": user["id"], "author": user}
    assert (written.status, post) == (201, expected)
    assert written.headers["location"] == f"{base_path}/posts/{post['id']}"

    revised = swagger.execute("update_post", {"title": "Note G"}, post_id=post["id"])
    post["title"] = "Note G"
    assert (revised.status, revised.body) == (200, post)
    found = swagger.execute("get_post", post_id=post["id"])
    assert (found.status, found.body) == (200, post)
    listed = swagger.execute("list_posts", user_id=user["id"])
    assert (listed.status, listed.body) == (200, [post])

    removed = swagger.execute("delete_post", post_id=post["id"])
    assert (removed.status, removed.body) == (200, {"message": "Post deleted successfully"})
    left = swagger.execute("delete_user", user_id=user["id"])
    assert (left.status, left.body) == (200, {"message": "User deleted successfully"})
    gone = swagger.execute("get_user", user_id=user["id"])
    assert (gone.status, gone.body["error"]) == (404, "User not found")


def test_a_user_and_a_post_are_created_changed_and_deleted(swagger):
    live_through(swagger, "/api")


def test_the_health_checks_answer_ok(swagger):
    liveness = swagger.execute("get_liveness")
    readiness = swagger.execute("get_readiness")

    assert (liveness.status, liveness.body) == (200, {"status": "ok"})
    assert (readiness.status, readiness.body) == (200, {"status": "ok"})


def test_every_example_of_a_body_can_be_executed_as_it_stands(swagger):
    shown = swagger.expand("create_user")
    shown.get_by_role("button", name="Try it out").click()
    shown.locator(".opblock-section-request-body .examples-select select").select_option("unicode_user")
    shown.get_by_role("button", name="Execute").click()

    answer = swagger.shown(shown)
    assert (answer.status, answer.body["username"]) == (201, "Zoë 李")


def test_a_refused_request_shows_its_problem_with_all_its_errors(swagger):
    refused = swagger.execute("create_user", {"username": "x" * 81, "nickname": "x"})

    assert refused.status == 400
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.body == {
        "type": "urn:problem:invalid-request",
        "title": "Invalid request",
        "status": 400,
        "detail": "The request does not match the contract.",
        "error": "The request does not match the contract.",
        "errors": [
            {"in": "body", "pointer": "/email", "detail": "is required"},
            {"in": "body", "pointer": "/nickname", "detail": "is not a known member"},
            {"in": "body", "pointer": "/username", "detail": "must have at most 80 characters"},
        ],
    }


def test_a_page_that_is_not_the_last_shows_its_link(swagger):
    for name in ("grace", "hedy"):
        swagger.execute("create_user", {"username": name, "email": f"{name}@example.com"})

    page = swagger.execute("list_users", limit=1)

    assert page.status == 200
    assert re.fullmatch(r'</api/users\?limit=1&cursor=[\w-]+>; rel="next"', page.headers["link"])


def test_the_policy_lets_nothing_in_from_elsewhere_and_nothing_inline(swagger):
    policy = dict(directive.split(" ", 1) for directive in swagger.policy.split("; "))

    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_a_page_of_an_allowed_origin_calls_the_api_and_reads_every_response(fetch):
    created = fetch("app", "POST", "/api/users", {"username": "emmy", "email": "emmy@example.com"})
    path = f"/api/users/{created['body']['id']}"
    refused = fetch("app", "POST", "/api/users", {"username": "emmy", "mail": "emmy@example.com"})
    deleted = fetch("app", "DELETE", path)
    gone = fetch("app", "GET", path)

    assert (created["status"], created["location"]) == (201, path)
    assert (refused["status"], [error["pointer"] for error in refused["body"]["errors"]]) == (400, ["/email", "/mail"])
    assert (deleted["status"], gone["status"], gone["body"]["error"]) == (200, 404, "User not found")


def test_a_page_of_another_origin_may_read_only_the_contract(fetch):
    contract = fetch("other", "GET", "/api/openapi.json")
    with pytest.raises(Error, match="TypeError: Failed to fetch"):
        fetch("other", "GET", "/api/users")

    assert (contract["status"], list(contract["body"]["paths"])) == (200, list(CONTRACT["paths"]))
    assert re.fullmatch(r'"[0-9a-f]{32}-(br|gzip)"', contract["etag"])


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_a_phone_shows_an_operation_in_its_width_and_its_buttons_within_reach(visit, server, path, method, operation):
    swagger = visit(server, **PHONE)
    shown = swagger.expand(operation["operationId"])
    shown.get_by_role("button", name="Try it out").click()
    for field in shown.locator("tr[data-param-in=path] input").all():
        field.fill("1")
    execute = shown.get_by_role("button", name="Execute")
    execute.click()
    shown.locator(".live-responses-table .response").wait_for()

    assert swagger.page.evaluate("document.documentElement.scrollWidth") == 375
    for button in [shown.locator(".opblock-control-arrow"), shown.get_by_role("button", name="Cancel"), execute]:
        box = button.bounding_box()
        assert (box["x"] >= 0, box["x"] + box["width"] <= 375) == (True, True), box


def test_behind_a_proxy_a_user_and_a_post_are_created_changed_and_deleted(visit, proxied):
    swagger = visit(proxied)

    live_through(swagger, f"{PREFIX}/api")


def test_behind_a_proxy_paging_stays_behind_it(visit, proxied):
    swagger = visit(proxied)
    for name in ("mary", "dorothy"):
        swagger.execute("create_user", {"username": name, "email": f"{name}@example.com"})

    page = swagger.execute("list_users", limit=1)

    assert re.match(rf"<{PREFIX}/api/users\?limit=1&cursor=", page.headers["link"])


@pytest.mark.parametrize("path", ["/", "/api/ui"])
def test_behind_a_proxy_redirects_lead_to_swagger_ui(visit, proxied, path):
    swagger = visit(proxied)

    swagger.page.goto(proxied + path)

    assert swagger.page.url == f"{proxied}/api/ui/"
    expect(swagger.page.locator(".opblock")).to_have_count(len(OPERATIONS))


def test_behind_a_proxy_the_contract_says_where_it_is_served(visit, proxied):
    swagger = visit(proxied)

    served = swagger.page.evaluate("fetch('../openapi.json').then(answer => answer.json())")

    assert served["servers"] == [{"url": f"{PREFIX}/api"}]


def test_the_picture_of_the_readme_shows_a_request_being_tried(visit, server, request, tmp_path: Path):
    swagger = visit(server, viewport={"width": 960, "height": 1000}, device_scale_factor=2)
    picture = (ROOT / "docs" / "images" if request.config.getoption("--screenshot") else tmp_path) / "swagger-ui.png"
    user = {"username": "ada", "email": "ada.lovelace@example.com"}

    shown = swagger.expand("create_user")
    shown.get_by_role("button", name="Try it out").click()
    editor = shown.locator("textarea.body-param__text")
    editor.fill(orjson.dumps(user, option=orjson.OPT_INDENT_2).decode())
    editor.evaluate("editor => { editor.style.minHeight = 0; editor.style.height = '80px'; }")
    shown.get_by_role("button", name="Execute").click()
    answer = swagger.shown(shown)
    # From the operation to the body of its answer.
    box, end = shown.bounding_box(), shown.locator(".live-responses-table .highlight-code").bounding_box()
    top = box["y"] + swagger.page.evaluate("scrollY")
    height = end["y"] + end["height"] - box["y"] + 8
    clip = {"x": box["x"] - 8, "y": top - 8, "width": box["width"] + 16, "height": height + 8}
    swagger.page.screenshot(path=picture, full_page=True, clip=clip, animations="disabled")

    assert (answer.status, answer.body) == (201, {"id": answer.body["id"], **user})
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert 20_000 < picture.stat().st_size < 300_000
    swagger.page.request.delete(f"{server}{answer.headers['location']}")
