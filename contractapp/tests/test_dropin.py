"""`ContractApp` in place of `connexion.FlaskApp`: unsupported operations run on stock; users' code is never skipped."""

import copy
import logging
import threading
from typing import Any

import connexion
import flask
import pytest
from connexion.exceptions import BadRequestProblem, ProblemException
from connexion.lifecycle import ConnexionResponse
from connexion.middleware import MiddlewarePosition
from connexion.options import SwaggerUIOptions
from connexion.resolver import Resolver
from starlette.exceptions import HTTPException

from contractapp import ContractApp
from contractapp.problems import InvalidRequest, NotFound, Problem

JSON = ("Content-Type", "application/json")
OK = {"200": {"description": "Fine.", "content": {"application/json": {"schema": {"type": "object"}}}}}


def here():
    """A handler that tells whether it was called as a compiled operation, from the name of its thread."""
    return {"compiled": threading.current_thread().name.startswith(("read-", "write-"))}


def neighbour():
    return here()


NEIGHBOUR = {"/neighbour": {"get": {"operationId": "neighbour", "responses": OK}}}


def parameter(name="p", where="query", **schema):
    more = {"required": True} if where == "path" else {}
    style = {"style": schema.pop("style")} if "style" in schema else {}
    return {"name": name, "in": where, "schema": schema, **more, **style}


def odd(**arguments):
    shown = {name: getattr(value, "filename", repr(value)) for name, value in sorted(arguments.items())}
    return {**here(), "arguments": shown}


async def odd_async(p=None):
    return {"compiled": False, "arguments": {"p": repr(p)}}


def check_key(key, **_):
    return {"sub": "me"} if key == "right" else None


def body(media_type, **schema):
    return {"requestBody": {"content": {media_type: {"schema": {"type": "object", **schema}}}}}


LIST = {"type": "array", "items": {"type": "integer"}}
FORM = ("Content-Type", "application/x-www-form-urlencoded")
MULTIPART = ("Content-Type", "multipart/form-data; boundary=x")
FILE = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\ncontent\r\n--x--\r\n'

UNSUPPORTED = {
    "security": (
        {"security": [{"key": []}]},
        [("GET", "/odd", [("X-Key", "right")]), ("GET", "/odd", [("X-Key", "wrong")]), ("GET", "/odd")],
    ),
    "an array": ({"parameters": [parameter(**LIST)]}, [("GET", "/odd?p=1,2"), ("GET", "/odd?p=x")]),
    "an exploded array": ({"parameters": [parameter(**LIST) | {"explode": True}]}, [("GET", "/odd?p=1&p=2")]),
    "a deep object": (
        {"parameters": [parameter(type="object", style="deepObject", properties={"a": {"type": "integer"}})]},
        [("GET", "/odd?p[a]=1"), ("GET", "/odd?p[a]=x")],
    ),
    "a cookie": ({"parameters": [parameter(where="cookie", type="integer")]}, [("GET", "/odd", [("Cookie", "p=x")])]),
    "a nullable parameter": ({"parameters": [parameter(type="integer", nullable=True)]}, [("GET", "/odd?p=null")]),
    "a form": (
        body("application/x-www-form-urlencoded", properties={"a": {"type": "integer"}}),
        [("POST", "/odd", [FORM], b"a=1"), ("POST", "/odd", [FORM], b"a=x")],
    ),
    "a file": (
        body("multipart/form-data", properties={"f": {"type": "string", "format": "binary"}}),
        [("POST", "/odd", [MULTIPART], FILE)],
    ),
    "text": (body("text/plain"), [("POST", "/odd", [("Content-Type", "text/plain")], b"text")]),
    "a body in chunks": (
        body("text/plain"),
        [("POST", "/odd", [("Content-Type", "text/plain"), ("Content-Length", "4")], [b"te", b"xt"])],
    ),
    "a default body": (body("application/json", default={"a": 1}), [("POST", "/odd", [JSON], b'{"b": 2}')]),
    "a body on DELETE": (body("application/json"), [("DELETE", "/odd", [JSON], b'{"b": 2}')]),
    "a range of media types": (
        {"responses": {"200": {"description": "Any.", "content": {"text/*": {}}}}},
        [("GET", "/odd")],
    ),
    "a reference into a schema": (
        body("application/json", properties={"a": {"$ref": "#/components/schemas/Thing/properties/id"}}),
        [("POST", "/odd", [JSON], b'{"a": 1}'), ("POST", "/odd", [JSON], b'{"a": "x"}')],
    ),
}


def library_messages(caplog):
    """The log messages of the library; Connexion logs that it has no Swagger UI."""
    return [record.getMessage() for record in caplog.records if record.name == "contractapp"]


# Connexion 3.3 does not close uploaded files; the garbage collector does.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("feature", UNSUPPORTED)
def test_an_operation_with_an_unknown_feature_runs_on_stock_and_is_named_once(
    feature, contract, compiled, stock, ask, caplog
):
    definition, requests = UNSUPPORTED[feature]
    paths = {"/odd": {requests[0][0].lower(): {"operationId": "odd", **copy.deepcopy(definition)}}, **NEIGHBOUR}
    document = contract(paths, {"Thing": {"properties": {"id": {"type": "integer"}}}})
    document["components"]["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "X-Key", "x-apikeyInfoFunc": f"{__name__}.check_key"}
    }
    with caplog.at_level(logging.WARNING, "contractapp"):
        ours, theirs = compiled(document, odd, neighbour), stock(document, odd, neighbour)
        replies = [(ask(ours, *request), ask(theirs, *request)) for request in requests]

    for mine, original in replies:
        assert mine.status == original.status
        if original.status == 200:
            assert mine.body == original.body
            assert b'"compiled": true' not in mine.body
    said = [record.getMessage().partition(":")[0] for record in caplog.records if "stock" in record.getMessage()]
    assert said == ["odd is left to stock Connexion"]
    assert ask(ours, "GET", "/neighbour").json() == {"compiled": True}


def test_an_async_handler_runs_on_stock(contract, compiled, stock, ask, caplog):
    document = contract(
        {"/odd": {"get": {"operationId": "odd_async", "parameters": [parameter(type="integer")]}}, **NEIGHBOUR}
    )
    with caplog.at_level(logging.WARNING, "contractapp"):
        ours, theirs = compiled(document, odd_async, neighbour), stock(document, odd_async, neighbour)

    assert ask(ours, "GET", "/odd?p=1").body == ask(theirs, "GET", "/odd?p=1").body
    assert library_messages(caplog) == ["odd_async is left to stock Connexion: it has an async or generator handler."]
    assert ask(ours, "GET", "/neighbour").json() == {"compiled": True}


def test_an_operation_left_to_stock_is_not_shadowed_by_a_template(contract, compiled, ask):
    document = contract(
        {
            "/things/list": {"get": {"operationId": "odd_async", "parameters": [parameter(**LIST)]}},
            "/things/{name}": {"get": {"operationId": "odd", "parameters": [parameter("name", "path", type="string")]}},
        }
    )
    app = compiled(document, odd, odd_async)

    assert ask(app, "GET", "/things/a").json() == {"compiled": True, "arguments": {"name": "'a'"}}
    assert ask(app, "GET", "/things/list?p=1").json() == {"compiled": False, "arguments": {"p": "[1]"}}


def test_an_operation_left_to_stock_keeps_the_limit_of_its_body(contract, compiled, ask):
    app = compiled(contract({"/odd": {"post": {"operationId": "odd", **body("text/plain")}}}), odd, max_body_bytes=10)
    text = ("Content-Type", "text/plain")

    assert ask(app, "POST", "/odd", [text], b"0123456789").status == 200
    assert ask(app, "POST", "/odd", [text], b"0123456789a").status == 413
    assert ask(app, "POST", "/odd", [text], [b"01234", b"56789"]).status == 200
    assert ask(app, "POST", "/odd", [text], [b"01234", b"56789a"]).status == 413


# Middleware of users


class Note:
    """Middleware that records the requests that pass through it."""

    def __init__(self, app: Any, seen: list[str]) -> None:
        self.app = app
        self.seen = seen

    async def __call__(self, scope, receive, send):
        self.seen.append(scope["path"])
        await self.app(scope, receive, send)


@pytest.mark.parametrize("position", list(MiddlewarePosition))
def test_middleware_is_never_skipped_whatever_its_position(position, contract, compiled, stock, ask):
    document = contract(NEIGHBOUR)
    counts = []
    for make in (compiled, stock):
        seen: list[str] = []
        app = make(document, neighbour)
        app.add_middleware(Note, position, seen=seen)
        statuses = [ask(app, "GET", target).status for target in ("/neighbour", "/openapi.json", "/nothing")]
        counts.append((statuses, seen))

    assert counts[0] == counts[1]
    assert "/neighbour" in counts[0][1]


def test_middleware_before_the_contract_leaves_operations_compiled(contract, compiled, ask):
    app = compiled(contract(NEIGHBOUR), neighbour)
    app.add_middleware(Note, MiddlewarePosition.BEFORE_EXCEPTION, seen=[])

    assert ask(app, "GET", "/neighbour").json() == {"compiled": True}


class Names:
    """Middleware that leaves a name in the context of Connexion."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope, receive, send):
        scope.setdefault("extensions", {})["connexion_context"] = {"name": "ann"}
        await self.app(scope, receive, send)


def test_the_context_that_middleware_leaves_reaches_handlers_as_on_stock(contract, compiled, stock, ask):
    def neighbour():
        return {"name": connexion.context.context["name"]}

    replies = []
    for make in (compiled, stock):
        app = make(contract(NEIGHBOUR), neighbour)
        app.add_middleware(Names, MiddlewarePosition.BEFORE_EXCEPTION)
        replies.append(ask(app, "GET", "/neighbour").json())

    assert replies == [{"name": "ann"}] * 2


def test_middleware_after_the_contract_is_logged_once(contract, compiled, ask, caplog):
    app = compiled(contract(NEIGHBOUR), neighbour)
    app.add_middleware(Note, MiddlewarePosition.BEFORE_CONTEXT, seen=[])
    with caplog.at_level(logging.WARNING, "contractapp"):
        replies = [ask(app, "GET", "/neighbour") for _ in range(2)]

    assert [reply.json() for reply in replies] == [{"compiled": False}] * 2
    assert library_messages(caplog) == [
        "Other middleware follows the contract's: every operation is left to stock Connexion."
    ]


def test_a_list_of_middlewares_of_ones_own_is_used(contract, ask):
    seen: list[str] = []

    def note(app):
        return Note(app, seen)

    from connexion.middleware import ConnexionMiddleware

    defaults = ConnexionMiddleware.default_middlewares
    front = ContractApp("api", middlewares=[note, *defaults])
    behind = ContractApp("api", middlewares=[*defaults, note])
    for app in (front, behind):
        app.add_api(contract(NEIGHBOUR), handlers={"neighbour": neighbour})

    assert ask(front, "GET", "/neighbour").json() == {"compiled": True}
    assert ask(behind, "GET", "/neighbour").json() == {"compiled": False}
    assert seen == ["/neighbour"] * 2


def test_wsgi_middleware_is_never_skipped(contract, compiled, ask):
    seen = []

    def wrap(app):
        def wrapped(environ, start_response):
            seen.append(environ["PATH_INFO"])
            return app(environ, start_response)

        return wrapped

    app = compiled(contract(NEIGHBOUR), neighbour)
    app.add_wsgi_middleware(wrap)

    assert ask(app, "GET", "/neighbour").json() == {"compiled": False}
    assert seen == ["/neighbour"]


def test_flask_rules_work_together_with_the_contract(contract, compiled, stock, ask):
    document = contract(
        {
            "/things/{name}": {"get": {"operationId": "odd", "parameters": [parameter("name", "path", type="string")]}},
            **NEIGHBOUR,
        }
    )
    apps = compiled(document, odd, neighbour), stock(document, odd, neighbour)
    for app in apps:
        app.add_url_rule("/rule/<int:number>", "rule", lambda number: f"rule {number}")
        app.add_url_rule("/things/special", "special", lambda: "special")

        @app.app.route("/route", methods=["POST"])
        def route():
            return flask.request.get_data()

    requests = [
        ("GET", "/rule/5"),
        ("GET", "/rule/x"),
        ("POST", "/route", [], b"x"),
        ("GET", "/route"),
        ("GET", "/things/special"),
        ("HEAD", "/rule/5"),
        ("GET", "/nothing"),
    ]
    for request in requests:
        ours, theirs = (ask(app, *request) for app in apps)
        assert (ours.status, ours.body if ours.status < 400 else b"") == (
            theirs.status,
            theirs.body if theirs.status < 400 else b"",
        ), request
    assert ask(apps[0], "GET", "/things/a").json()["compiled"]
    assert ask(apps[0], "GET", "/neighbour").json() == {"compiled": True}


@pytest.mark.parametrize("target", ["//", "//neighbour", "/neighbour/"])
def test_404_with_flask_rules_too(contract, compiled, ask, target):
    app = compiled(contract(NEIGHBOUR), neighbour)
    app.add_url_rule("/rule", "rule", lambda: "rule")

    assert ask(app, "GET", target).status == 404


def test_several_apis_in_one_application(contract, ask):
    app = ContractApp("api")
    for name in ("one", "two"):
        app.add_api(
            contract({"/who": {"get": {"operationId": "who"}}}),
            base_path=f"/{name}",
            name=name,
            handlers={"who": _who(name)},
        )
    app.add_api(
        contract({"/who": {"get": {"operationId": "who"}}}), base_path="/three", handlers={"who": _who("three")}
    )

    for name in ("one", "two", "three"):
        assert ask(app, "GET", f"/{name}/who").json() == {
            "who": name,
            "endpoint": f"{name if name != 'three' else '/three'}.who",
        }
        assert ask(app, "GET", f"/{name}/openapi.json").json()["servers"] == [{"url": f"/{name}"}]
    assert ask(app, "GET", "/four/who").status == 404


def _who(name):
    def who():
        return {"who": name, "endpoint": flask.request.endpoint}

    return who


@pytest.mark.parametrize("base_path", [None, "", "/v1", "/v1.0/x"])
def test_endpoints_and_paths_are_those_of_stock(contract, compiled, stock, ask, base_path):
    def where():
        return {"endpoint": flask.request.endpoint, "url": flask.url_for(".where"), "path": flask.request.path}

    document = contract({"/where": {"get": {"operationId": "where"}}}, servers=[{"url": "https://example.com/base"}])
    options = {} if base_path is None else {"base_path": base_path}
    target = f"{'/base' if base_path is None else base_path}/where"

    ours, theirs = (ask(make(document, where, **options), "GET", target) for make in (compiled, stock))
    assert ours.json() == theirs.json()


def test_contracts_are_the_documents_as_written(contract, compiled):
    first, second = contract(NEIGHBOUR, schemas={"Name": {"type": "string"}}), contract({})
    app = compiled(first, neighbour)
    app.add_api(copy.deepcopy(second), name="second", base_path="/second")

    assert list(app.contracts) == [("", first), ("/second", {**second, "servers": [{"url": "/second"}]})]


def test_an_operation_id_with_a_dot_is_resolved_by_connexion(contract, ask):
    app = ContractApp("api")
    app.add_api(contract({"/pid": {"get": {"operationId": "os.getpid"}}}))

    assert isinstance(ask(app, "GET", "/pid").json(), int)


def test_resolver_error_answers_its_status_and_other_operations_work(contract, compiled, stock, ask):
    document = contract({"/missing": {"get": {"operationId": "missing"}}, **NEIGHBOUR})
    apps = compiled(document, neighbour, resolver_error=501), stock(document, neighbour, resolver_error=501)

    assert [ask(app, "GET", "/missing").status for app in apps] == [501, 501]
    assert ask(apps[0], "GET", "/neighbour").json() == {"compiled": True}


class Boom(Exception):
    pass


def raising(error):
    def operation():
        raise error

    return operation


def note_error(_request, error):
    return ConnexionResponse(status_code=418, mimetype="text/plain", body=type(error).__name__)


@pytest.mark.parametrize(
    ("registered", "error"),
    [
        (Boom, Boom()),
        (Exception, Boom()),
        (LookupError, KeyError("a")),
        (ProblemException, BadRequestProblem("bad")),
        (BadRequestProblem, BadRequestProblem("bad")),
        (404, HTTPException(404)),
        (HTTPException, HTTPException(409)),
    ],
)
def test_error_handlers_get_exceptions_of_handlers(contract, compiled, stock, ask, registered, error):
    document = contract({"/boom": {"get": {"operationId": "operation"}}})
    apps = compiled(document, raising(error)), stock(document, raising(error))
    for app in apps:
        app.add_error_handler(registered, note_error)
    ours, theirs = (ask(app, "GET", "/boom") for app in apps)

    assert (ours.status, ours.body) == (theirs.status, theirs.body) == (418, type(error).__name__.encode())


@pytest.mark.parametrize(
    ("registered", "method", "target"),
    [
        (404, "GET", "/nothing"),
        (404, "GET", "/neighbour/"),
        (405, "POST", "/neighbour"),
        (HTTPException, "GET", "/nothing"),
        (400, "GET", "/odd?p=x"),
        (Problem, "GET", "/odd?p=x"),
        (InvalidRequest, "GET", "/odd?p=x"),
        (NotFound, "GET", "/nothing"),
    ],
)
@pytest.mark.parametrize("static_folder", [None, "static"])
def test_error_handlers_get_refused_requests(contract, compiled, ask, registered, method, target, static_folder):
    if registered is NotFound and static_folder:
        pytest.skip("Flask looks for a static file, and answers with its own 404")
    document = contract(
        {"/odd": {"get": {"operationId": "odd", "parameters": [parameter(type="integer")]}}, **NEIGHBOUR}
    )
    app = compiled(document, odd, neighbour, server_args={"static_folder": static_folder})
    app.add_error_handler(registered, note_error)

    assert ask(app, method, target).status == 418


def test_error_handlers_get_problems_that_handlers_raise(contract, compiled, ask):
    app = compiled(contract({"/boom": {"get": {"operationId": "operation"}}}), raising(NotFound("No.")))
    app.add_error_handler(NotFound, note_error)

    assert (ask(app, "GET", "/boom").status, ask(app, "GET", "/boom").body) == (418, b"NotFound")


def test_other_error_handlers_are_not_called_for_refused_requests(contract, compiled, ask):
    app = compiled(contract(NEIGHBOUR), neighbour)
    app.add_error_handler(Boom, note_error)
    app.add_error_handler(404, note_error)

    assert ask(app, "POST", "/neighbour").status == 405


def test_pythonic_names_are_those_of_connexion(contract, compiled, stock, ask):
    def names(**arguments):
        return arguments

    parameters = [
        parameter("camelCase", type="integer"),
        parameter("id", type="integer"),
        parameter("a-b[c]", type="string"),
    ]
    document = contract({"/names": {"get": {"operationId": "names", "parameters": parameters}}})
    for options in ({}, {"pythonic_params": True}):
        ours, theirs = (
            ask(make(document, names, **options), "GET", "/names?camelCase=1&id=2&a-b%5Bc%5D=x")
            for make in (compiled, stock)
        )
        assert ours.json() == theirs.json()


def test_x_body_name_names_the_argument_of_the_body(contract, compiled, stock, ask):
    def create(thing):
        return thing

    operation = {
        "operationId": "create",
        "requestBody": {"x-body-name": "thing", "content": {"application/json": {"schema": {"type": "object"}}}},
    }
    document = contract({"/things": {"post": operation}})

    for make in (compiled, stock):
        assert ask(make(document, create), "POST", "/things", [JSON], b'{"a": 1}').json() == {"a": 1}


def test_a_handler_that_takes_the_context_runs_on_stock(contract, compiled, ask):
    def contextual(context_):
        return {**here(), "context": dict(context_)}

    app = compiled(contract({"/c": {"get": {"operationId": "contextual"}}}), contextual)

    assert ask(app, "GET", "/c").json() == {"compiled": False, "context": {}}


@pytest.mark.parametrize(
    "option",
    [
        {"auth_all_paths": True},
        {"validator_map": {"body": {}}},
        {"uri_parser_class": connexion.uri_parsing.OpenAPIURIParser},
    ],
)
def test_options_that_add_code_to_checking_leave_all_to_stock(contract, compiled, ask, option):
    app = compiled(contract(NEIGHBOUR), neighbour, **option)

    assert ask(app, "GET", "/neighbour").json() == {"compiled": False}


def test_a_swagger_2_contract_runs_on_stock_with_its_documentation(ask):
    document = {
        "swagger": "2.0",
        "info": {"title": "Old", "version": "1"},
        "paths": {"/neighbour": {"get": {"operationId": "neighbour", "responses": {"200": {"description": "Fine."}}}}},
    }
    app = ContractApp("api", server_args={"static_folder": None})
    app.add_api(document, resolver=Resolver(lambda _: neighbour))

    assert ask(app, "GET", "/neighbour").json() == {"compiled": False}
    assert ask(app, "GET", "/swagger.json").json()["swagger"] == "2.0"
    assert ask(app, "GET", "/nothing").status == 404


def test_a_customised_swagger_ui_is_served_by_stock(contract, compiled, ask, tmp_path):
    (tmp_path / "index.j2").write_text("my own page")
    options = SwaggerUIOptions(swagger_ui_template_dir=tmp_path)
    app = compiled(contract(NEIGHBOUR), neighbour, swagger_ui_options=options, server_args={"static_folder": None})

    assert ask(app, "GET", "/ui/").body == b"my own page"
    assert ask(app, "GET", "/neighbour").json() == {"compiled": True}


def test_a_schema_that_refers_to_itself_starts(contract, compiled, ask):
    tree = {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}},
    }

    def grow(body):
        return body

    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}
    responses = {"200": {"description": "A tree.", "content": content}}
    document = contract(
        {"/trees": {"post": {"operationId": "grow", "requestBody": {"content": content}, "responses": responses}}},
        {"Tree": tree},
    )
    app = compiled(document, grow, validate_responses=True)

    assert ask(app, "POST", "/trees", [JSON], b'{"children": [{"children": []}]}').status == 200
    assert ask(app, "POST", "/trees", [JSON], b'{"children": [{"children": [1]}]}').faults == [
        ("body", "/children/0/children/0", "must be an object")
    ]


def test_the_test_client_of_connexion_works(contract, compiled):
    with compiled(contract(NEIGHBOUR), neighbour).test_client() as client:
        assert client.get("/neighbour").json() == {"compiled": True}


def test_lifespan_functions_run(contract):
    from contextlib import asynccontextmanager

    seen = []

    @asynccontextmanager
    async def lifespan(_app):
        seen.append("started")
        yield
        seen.append("stopped")

    app = ContractApp("api", lifespan=lifespan)
    app.add_api(contract(NEIGHBOUR), handlers={"neighbour": neighbour})
    with app.test_client():
        assert seen == ["started"]
    assert seen == ["started", "stopped"]
