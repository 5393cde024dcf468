"""If-Match and If-None-Match of a contract: their grammar, their order, and the answers 304, 412 and 428."""

import time

import connexion
import flask
import pytest

from contractapp import EntityTags, PreconditionFailed, compat

TAG = '"2"'

# Values of both headers and the tags in them; None stands for `*`.
VALUES = [
    (b"*", None),
    (b" \t* ", None),
    (b'"2"', ['"2"']),
    (b'W/"2"', ['W/"2"']),
    (b'""', ['""']),
    (b'"a", "b"', ['"a"', '"b"']),
    (b'"a","b"', ['"a"', '"b"']),
    (b'"a"\t ,\t "b"', ['"a"', '"b"']),
    (b'"a",W/"a"', ['"a"', 'W/"a"']),
    (b'"a,b"', ['"a,b"']),
    (b'"a,b", "c"', ['"a,b"', '"c"']),
    (b'"*"', ['"*"']),
    (b'"W/"', ['"W/"']),
    (rb'"\"', [r'"\"']),
    (b'"!#~"', ['"!#~"']),
    (b'"\x80\xff"', ['"\x80\xff"']),
    # RFC 9110, section 5.6.1.2: a recipient ignores empty elements.
    (b',"a"', ['"a"']),
    (b'"a",', ['"a"']),
    (b', ,"a",,\t, "b", ,', ['"a"', '"b"']),
]
REFUSED = [
    *(b"", b" ", b",", b", ,", b"2", b"W/2", b'"2', b'2"', b'"', b'"2""3"', b'"2" "3"', b'"2";"3"', b"'2'"),
    *(
        b'w/"2"',
        b'W/ "2"',
        b'W "2"',
        b'WW/"2"',
        b'"a b"',
        b'"a\tb"',
        b'"a\x7fb"',
        b'"a"b"',
        b'*, "2"',
        b'"2", *',
        b"**",
    ),
    *(b'"2", 3', b'3, "2"', b"%222%22", b'"a\x00b"', b"\xff", b'"2"\xa0', "“2”".encode()),
]


@pytest.mark.parametrize(("value", "tags"), VALUES)
def test_a_value_is_read_as_the_grammar_says(value, tags):
    found = EntityTags.parse(value.decode("latin-1"))

    assert found is not None
    assert (found.is_any, list(found.tags)) == (tags is None, tags or [])


@pytest.mark.parametrize("value", REFUSED)
def test_another_value_is_refused(value):
    assert EntityTags.parse(value.decode("latin-1")) is None


@pytest.mark.parametrize(
    "value",
    [
        b"," * 60_000,
        b" ," * 30_000 + b"x",
        b'"a" ' + b" " * 60_000 + b"x",
        b'"a",' * 15_000 + b"x",
        b'"' * 60_000,
        b", \t" * 20_000 + b'"',
    ],
)
def test_a_long_value_is_refused_in_a_time_that_grows_with_its_length(value):
    before = time.process_time()
    assert EntityTags.parse(value.decode()) is None
    assert time.process_time() - before < 2  # a quadratic time would be minutes


# RFC 9110, section 8.8.3.2, table 3.
@pytest.mark.parametrize(
    ("sent", "current", "strongly", "weakly"),
    [
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', 'W/"1"', False, True),
        ('"1"', '"1"', True, True),
        ('"1"', '"11"', False, False),
        ('"0", W/"1", "2"', '"2"', True, True),
        ('"0", W/"2"', '"2"', False, True),
        ("*", '"2"', True, True),
        ("*", 'W/"2"', True, True),
    ],
)
def test_tags_are_compared_strongly_and_weakly(sent, current, strongly, weakly):
    tags = EntityTags.parse(sent)

    assert tags.match_strongly(current) is strongly
    assert tags.match_weakly(current) is weakly


def test_only_strong_tags_can_match_strongly():
    assert EntityTags.parse('W/"1", "2", W/"3", "4"').strong == ('"2"', '"4"')


def header(name, **more):
    return {"name": name, "in": "header", "schema": {"type": "string"}, **more}


def responses(*statuses):
    return {status: {"description": "An answer."} for status in statuses}


def operation(name, *headers, statuses=("200", "304", "400", "404", "412", "428"), **more):
    return {"operationId": name, "parameters": list(headers), "responses": responses(*statuses), **more}


BOTH = (header("If-Match"), header("If-None-Match"))


@pytest.fixture
def serve(contract, compiled):
    """An application with one path, whose operations have these definitions and handlers."""

    def serve(*handlers, **options):
        methods = {method: definition for method, definition, _ in handlers}
        return compiled(contract({"/item": methods}), *(handler for _, _, handler in handlers), **options)

    return serve


def get_item():
    return {"a": 1}, 200, {"ETag": TAG, "Cache-Control": "no-cache"}


@pytest.fixture
def app(serve):
    return serve(("get", operation("get_item", *BOTH), get_item), validate_responses=True)


# RFC 9110, section 13.2.2: If-Match comes before If-None-Match.
@pytest.mark.parametrize(
    ("if_match", "if_none_match", "status"),
    [
        (None, None, 200),
        ('"2"', None, 200),
        ('"1", "2"', None, 200),
        ("*", None, 200),
        ('"1"', None, 412),
        ('W/"2"', None, 412),
        (None, '"2"', 304),
        (None, 'W/"2"', 304),
        (None, '"1", W/"2"', 304),
        (None, "*", 304),
        (None, '"1"', 200),
        ('"2"', '"2"', 304),
        ("*", "*", 304),
        ('"2"', '"1"', 200),
        ('"1"', '"2"', 412),
        ('"1"', "*", 412),
        ('"1"', '"1"', 412),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_preconditions_of_a_get(app, ask, method, if_match, if_none_match, status):
    headers = [("If-Match", if_match), ("If-None-Match", if_none_match)]

    answer = ask(app, method, "/item", [(name, value) for name, value in headers if value is not None])

    assert (answer.status, answer.header("etag")) == (status, TAG)
    if status == 304:
        assert answer.header("cache-control") == "no-cache"
        assert answer.header("content-type") is None
        assert answer.header("content-length") is None
        assert answer.body == b""
    if (status, method) == (412, "GET"):
        assert answer.json() == {
            "type": "urn:problem:precondition-failed",
            "title": "Precondition failed",
            "status": 412,
            "detail": "The precondition in If-Match does not hold.",
            "errors": [{"in": "header", "pointer": "/If-Match", "detail": "does not hold for the current state"}],
        }


@pytest.mark.parametrize("value", [value for value in REFUSED if b"\0" not in value])
@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
def test_400_for_a_value_that_is_no_list_of_tags(app, ask, name, value):
    answer = ask(app, "GET", "/item", [(name, value)])

    assert answer.status == 400
    detail = "must be * or a list of entity tags, each in double quotes"
    assert answer.json()["errors"] == [{"in": "header", "pointer": f"/{name}", "detail": detail}]


def test_several_lines_of_a_header_are_one_list(app, ask):
    lines = [("If-None-Match", '"1"'), ("if-none-match", '"2"')]

    assert ask(app, "GET", "/item", lines).status == 304
    assert ask(app, "GET", "/item", [*lines, ("If-None-Match", "*")]).status == 400


def test_the_body_of_a_304_is_not_serialised(serve, ask):
    def get_unserialisable():
        return {"a": object()}, 200, {"ETag": TAG}

    app = serve(("get", operation("get_unserialisable", *BOTH), get_unserialisable))

    assert ask(app, "GET", "/item").status == 500
    assert ask(app, "GET", "/item", [("If-None-Match", TAG)]).status == 304


@pytest.mark.parametrize(
    "result",
    [
        lambda: ({"a": 1}, {"etag": TAG}),
        lambda: flask.Response("{}", mimetype="application/json", headers={"ETag": TAG}),
        lambda: (flask.Response("{}", mimetype="application/json"), 200, {"ETag": TAG}),
        lambda: connexion.lifecycle.ConnexionResponse(body="{}", headers={"ETag": TAG}),
    ],
)
def test_the_tag_counts_however_the_handler_returns_it(serve, ask, result):
    def get_any():
        return result()

    app = serve(("get", operation("get_any", *BOTH), get_any))

    assert ask(app, "GET", "/item").status == 200
    assert ask(app, "GET", "/item", [("If-None-Match", TAG)]).status == 304


@pytest.mark.parametrize(
    "result", [({"a": 1}, 404, {"ETag": TAG}), {"a": 1}, ({"a": 1}, 200, {"X": TAG})], ids=["404", "none", "other"]
)
def test_preconditions_do_not_count_without_a_tag_or_a_success(serve, ask, result):
    """RFC 9110, section 13.2.1: a precondition is ignored if the answer without it is neither a success nor a 412."""

    def get_any():
        return result

    app = serve(("get", operation("get_any", *BOTH), get_any))
    without = ask(app, "GET", "/item")

    assert ask(app, "GET", "/item", [("If-None-Match", "*"), ("If-Match", '"1"')]).status == without.status


@pytest.mark.parametrize("hooked", [False, True])
def test_flasks_hooks_see_the_304(serve, ask, hooked):
    app = serve(("get", operation("get_item", *BOTH), get_item))
    seen = []
    if hooked:
        app.app.after_request(lambda response: seen.append(response.status_code) or response)

    assert ask(app, "GET", "/item", [("If-None-Match", TAG)]).status == 304
    assert seen == [304] * hooked


@pytest.mark.parametrize(
    ("headers", "statuses"),
    [
        ((), ("200", "304", "412")),
        (BOTH, ("200",)),
        ((header("X-If-None-Match"),), ("200", "304", "412")),
    ],
)
def test_preconditions_that_the_contract_does_not_have_are_ignored(serve, ask, headers, statuses):
    app = serve(("get", operation("get_item", *headers, statuses=statuses), get_item))

    assert ask(app, "GET", "/item", [("If-None-Match", TAG), ("If-Match", '"1"')]).status == 200


def delete_item(if_match=None, if_none_match=None):
    for tags in (if_match, if_none_match):
        assert tags is None or isinstance(tags, EntityTags)
    if if_match is not None and not if_match.match_strongly(TAG):
        raise PreconditionFailed(TAG)
    return {"if_match": if_match and if_match.tags, "if_none_match": if_none_match and if_none_match.tags}


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ([], (None, None)),
        ([("If-Match", TAG)], ([TAG], None)),
        ([("If-None-Match", 'W/"1"')], (None, ['W/"1"'])),
        ([("If-Match", '"1", "2"'), ("If-None-Match", "*")], (['"1"', '"2"'], [])),
    ],
)
def test_a_handler_that_changes_something_gets_the_tags(serve, ask, headers, taken):
    app = serve(("delete", operation("delete_item", *BOTH), delete_item))

    assert ask(app, "DELETE", "/item", headers).json() == dict(zip(("if_match", "if_none_match"), taken, strict=True))


def test_412_has_the_current_tag(serve, ask):
    app = serve(("delete", operation("delete_item", *BOTH), delete_item))

    answer = ask(app, "DELETE", "/item", [("If-Match", '"1"')])

    assert (answer.status, answer.header("etag")) == (412, TAG)


def test_a_handler_that_takes_no_tags_may_read_the_header_itself(serve, ask):
    def delete_by_itself():
        return {"sent": flask.request.headers["If-Match"]}

    app = serve(("delete", operation("delete_by_itself", *BOTH), delete_by_itself))

    assert ask(app, "DELETE", "/item", [("If-Match", "as it likes")]).json() == {"sent": "as it likes"}


def test_a_schema_of_the_contract_counts_too(serve, ask):
    short = header("If-None-Match", schema={"type": "string", "maxLength": 5})
    app = serve(("get", operation("get_item", short), get_item))

    assert ask(app, "GET", "/item", [("If-None-Match", '"222"')]).status == 200
    assert ask(app, "GET", "/item", [("If-None-Match", '"2222"')]).json()["errors"] == [
        {"in": "header", "pointer": "/If-None-Match", "detail": "must have at most 5 characters"}
    ]


STRICT = operation("delete_item", header("If-Match", required=True))


def test_428_without_a_required_if_match(serve, ask):
    app = serve(("delete", STRICT, delete_item))

    answer = ask(app, "DELETE", "/item")

    assert answer.json() == {
        "type": "about:blank",
        "title": "Precondition Required",
        "status": 428,
        "detail": "The request must have the header If-Match.",
    }
    assert ask(app, "DELETE", "/item", [("If-Match", TAG)]).status == 200
    assert ask(app, "DELETE", "/item", [("If-Match", "*")]).status == 200


def test_400_comes_before_428(serve, ask):
    app = serve(("delete", STRICT, delete_item), strict_validation=True)

    assert ask(app, "DELETE", "/item?x=1").status == 400


def test_a_required_if_match_is_a_400_where_no_428_is_documented(serve, ask):
    definition = operation("delete_item", header("If-Match", required=True), statuses=("200", "412"))
    app = serve(("delete", definition, delete_item))

    assert ask(app, "DELETE", "/item").json()["errors"] == [
        {"in": "header", "pointer": "/If-Match", "detail": "is required"}
    ]
    assert len(ask(app, "DELETE", "/item", [("If-Match", "2")]).json()["errors"]) == 1


@pytest.mark.parametrize("place", ["operation", "path", "component"])
def test_if_match_is_required_where_428_is_documented(contract, compiled, ask, place):
    parameter = header("If-Match", description="The tag.")
    own = {"$ref": "#/components/parameters/tag"} if place == "component" else parameter
    strict, lax = operation("delete_item"), operation("update_item", statuses=("200", "412"))
    for definition in () if place == "path" else (strict, lax):
        definition["parameters"] = [own]
    item = {"delete": strict, "put": lax, "parameters": [own] if place == "path" else []}
    document = contract({"/item": item})
    document["components"]["parameters"] = {"tag": parameter}

    def update_item(if_match=None):
        return {}

    app = compiled(document, delete_item, update_item, require_if_match=True)
    published = ask(app, "GET", "/openapi.json").json()

    assert ask(app, "DELETE", "/item").status == 428
    assert ask(app, "DELETE", "/item", [("If-Match", TAG)]).status == 200
    assert ask(app, "PUT", "/item").status == 200
    assert published["paths"]["/item"]["delete"]["parameters"] == [{**parameter, "required": True}]
    assert published["paths"]["/item"]["put"] == lax
    assert published["components"]["parameters"] == {"tag": parameter}


def test_304_is_compatible_and_other_successes_are_not(contract):
    old, new = operation("get_item", statuses=("200",)), operation("get_item", statuses=("200", "202", "304"))

    changes = compat.compare(contract({"/item": {"get": old}}), contract({"/item": {"get": new}}))
    back = compat.compare(contract({"/item": {"get": new}}), contract({"/item": {"get": old}}))

    assert [str(change) for change in changes] == [
        "BREAKING: GET /item answers 202 too.",
        "harmless: GET /item answers 304 too.",
    ]
    assert [str(change) for change in back] == [
        "BREAKING: GET /item no longer answers 202.",
        "harmless: GET /item no longer answers 304.",
    ]
