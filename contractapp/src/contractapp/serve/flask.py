"""Runs handlers inside Flask: its contexts, hooks, sessions, error handlers and signals work as documented.

To save time, `request`, `session` and the URL adapter are built on first use, and Flask's own dispatch runs only if
hooks, signals, a session or a subclass of Flask require it.

This is the only module that uses Flask's undocumented interfaces. Each of them, and why no documented one will do:

- `RequestContext` and `AppContext` are subclassed, and stored in `_cv_request` and `_cv_app`: Flask's own contexts
  build the request and open the session when they are pushed, which halves the speed of handlers that use neither.
- `_cv_tokens`, `_after_request_functions` and `_SESSION` are attributes of those classes, set here because the
  constructor that sets them is called later.
- `_got_first_request` makes Flask refuse hooks that are registered too late; only Flask's own dispatch sets it.

Flask 3.2 merges the two contexts and passes the result to methods that take no context today (`process_response`,
`full_dispatch_request`): it needs another version of this module. `tests/test_flask.py` compares each behaviour with
stock Connexion, under the oldest and the newest Flask.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import flask
from a2wsgi.wsgi import build_environ
from flask.ctx import AppContext, RequestContext
from flask.globals import _cv_app, _cv_request

from contractapp.answers import Answer, Scope
from contractapp.compile.response import from_werkzeug
from contractapp.problems import Problem
from contractapp.serve.connexion import ConnexionOperation, enter_context

Teardown = Callable[[BaseException | None], Any]

_SIGNALS = (flask.request_started, flask.request_finished, flask.request_tearing_down, flask.got_request_exception)


class Call:
    """A checked request, ready to be passed to its handler."""

    __slots__ = ("arguments", "content", "operation", "scope")

    def __init__(self, operation: ConnexionOperation, scope: Scope, arguments: dict[str, Any], content: bytes) -> None:
        self.operation = operation
        self.scope = scope
        self.arguments = arguments
        self.content = content

    def environ(self) -> dict[str, Any]:
        """The request as a WSGI environ, with a readable body and a known length even if the body came in chunks."""
        environ: dict[str, Any] = dict(build_environ(self.scope, io.BytesIO(self.content)))  # type: ignore[arg-type]
        if self.content:
            environ["CONTENT_LENGTH"] = str(len(self.content))
            environ.pop("HTTP_TRANSFER_ENCODING", None)
        return environ

    async def receive(self) -> dict[str, Any]:
        """The body once more, for `connexion.request`."""
        return {"type": "http.request", "body": self.content, "more_body": False}

    def handle(self) -> Answer:
        return self.operation.answer(self.arguments, self.path)

    @property
    def path(self) -> str:
        path: str = self.scope["path"]
        return path


class FlaskRunner:
    """Runs calls for one Flask application. `prepare` must be called once all APIs and hooks are registered."""

    def __init__(self, app: flask.Flask) -> None:
        self.app = app
        self._dispatched: ContextVar[Call] = ContextVar("dispatched")
        self._always_dispatch = True
        self.is_plain = False
        self._handles_errors = True
        self._has_sessions = True
        self._teardowns: Sequence[Teardown] = ()

    def prepare(self, endpoints: Mapping[str, ConnexionOperation]) -> None:
        """Read the registered hooks, and make Flask's own dispatch call the compiled handlers."""
        app = self.app
        hooks: Sequence[Mapping[Any, Any]] = (
            app.before_request_funcs,
            app.after_request_funcs,
            app.teardown_request_funcs,
            app.url_value_preprocessors,
        )
        self._always_dispatch = (
            type(app) is not flask.Flask
            or not app.config["PROPAGATE_EXCEPTIONS"]  # Connexion sets it; if unset, Flask itself answers errors
            or any(any(functions.values()) for functions in hooks)
        )
        self.is_plain = not self._always_dispatch
        self._has_sessions = bool(app.secret_key)
        handlers = [f for codes in app.error_handler_spec.values() for by_class in codes.values() for f in by_class]
        self._handles_errors = len(handlers) > 1  # one is Connexion's, for HTTP exceptions
        self._teardowns = [app.ensure_sync(function) for function in reversed(app.teardown_appcontext_funcs)]
        for endpoint in endpoints:
            app.view_functions[endpoint] = self._view(app.view_functions[endpoint])
        # Makes Flask refuse further hooks, as it does after the first request that it dispatches itself.
        app._got_first_request = True  # noqa: SLF001

    def run(self, call: Call) -> Answer:
        """The answer of the handler. Call this in a worker thread."""
        enter_context(call.operation.connexion, call.scope, call.receive)
        if self._always_dispatch or self._may_have_session(call) or self._has_signal_receivers():
            return self._dispatch(call)
        return self._run_lazily(call)

    def _run_lazily(self, call: Call) -> Answer:
        context = _LazyRequestContext(self.app, call.environ, self._teardowns)
        with context:
            try:
                answer = call.handle()
            except Problem as problem:
                if not self._handles_errors:
                    raise
                answer = self._handle_error(call, problem)
            except Exception as error:  # noqa: BLE001  # Flask's error handlers answer it, or raise it again
                answer = self._handle_error(call, error)
            if context.used:
                answer = from_werkzeug(self.app.process_response(self._to_flask(answer)))
            return answer

    def _handle_error(self, call: Call, error: Exception) -> Answer:
        """The answer of Flask's error handler for the error; raises the error again if there is none."""
        response = self.app.make_response(self.app.handle_user_exception(error))
        return call.operation.responses.answer(response, call.path)

    def _dispatch(self, call: Call) -> Answer:
        token = self._dispatched.set(call)
        context = self.app.request_context(call.environ())
        error: BaseException | None = None
        try:
            try:
                context.push()
                response = self.app.full_dispatch_request()
            except Exception as raised:  # noqa: BLE001  # as in Flask.wsgi_app
                error = raised
                response = self.app.handle_exception(raised)
            return call.operation.responses.answer(response, call.path)
        finally:
            self._dispatched.reset(token)
            context.pop(error)

    def _view(self, stock: Callable[..., Any]) -> Callable[..., Any]:
        def view(**view_args: Any) -> Any:
            call = self._dispatched.get(None)
            return stock(**view_args) if call is None else self._to_flask(call.handle())

        return view

    def _to_flask(self, answer: Answer) -> flask.Response:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
        body = answer.body if answer.stream is None else answer.stream
        response = self.app.response_class(body, status=answer.status, headers=headers)
        if not any(name == "content-type" for name, _ in headers):
            response.headers.pop("Content-Type", None)
        return response

    def _has_signal_receivers(self) -> bool:
        return any(signal.receivers and signal.has_receivers_for(self.app) for signal in _SIGNALS)

    def _may_have_session(self, call: Call) -> bool:
        return self._has_sessions and any(name == b"cookie" for name, _ in call.scope["headers"])


# The attribute of a request context for its session: `session` became a property over `_session` in Flask 3.1.3.
_SESSION = "_session" if hasattr(RequestContext, "session") else "session"


class _LazyRequestContext(RequestContext):
    """A request context that builds its request, URL adapter and session on first use."""

    _BUILT_ON_USE = frozenset({"request", "url_adapter", "flashes", _SESSION})

    def __init__(
        self, app: flask.Flask, make_environ: Callable[[], dict[str, Any]], teardowns: Sequence[Teardown]
    ) -> None:
        self.app = app
        self._make_environ = make_environ
        self._teardowns = teardowns
        self._after_request_functions = []
        self._cv_tokens = []

    def __getattr__(self, name: str) -> Any:
        if name not in self._BUILT_ON_USE:
            raise AttributeError(name)
        tokens, functions = self._cv_tokens, self._after_request_functions
        super().__init__(self.app, self._make_environ())
        self._cv_tokens, self._after_request_functions = tokens, functions
        interface = self.app.session_interface
        session = interface.open_session(self.app, self.request)  # an empty session is falsy
        setattr(self, _SESSION, interface.make_null_session(self.app) if session is None else session)
        if self.url_adapter is not None:
            self.match_request()
        return self.__dict__[name]

    @property
    def used(self) -> bool:
        return "request" in self.__dict__ or bool(self._after_request_functions)

    def copy(self) -> RequestContext:
        """A context of Flask's own class, for `flask.copy_current_request_context`."""
        return RequestContext(self.app, self.request.environ, request=self.request, session=getattr(self, _SESSION))

    def push(self) -> None:
        if "request" in self.__dict__:  # pushed again, by stream_with_context or a copy
            super().push()
            return
        current = _cv_app.get(None)
        app_context = None
        if current is None or current.app is not self.app:  # as in Flask: a stream keeps the `g` of its request
            app_context = _AppContext(self.app, self._teardowns)
            app_context.push()
        self._cv_tokens.append((_cv_request.set(self), app_context))

    def pop(self, exc: BaseException | None = None) -> None:
        if "request" in self.__dict__:
            super().pop(exc)
            return
        token, app_context = self._cv_tokens.pop()
        _cv_request.reset(token)
        if app_context is not None:
            app_context.pop(exc)


class _AppContext(AppContext):
    """Flask's application context, except that signals without receivers are not sent."""

    def __init__(self, app: flask.Flask, teardowns: Sequence[Teardown]) -> None:
        super().__init__(app)
        self._teardowns = teardowns

    def push(self) -> None:
        self._cv_tokens.append(_cv_app.set(self))
        if flask.appcontext_pushed.receivers:
            flask.appcontext_pushed.send(self.app, _async_wrapper=self.app.ensure_sync)

    def pop(self, exc: BaseException | None = None) -> None:
        try:
            if len(self._cv_tokens) == 1:
                self._tear_down(exc)
        finally:
            _cv_app.reset(self._cv_tokens.pop())
        if flask.appcontext_popped.receivers:
            flask.appcontext_popped.send(self.app, _async_wrapper=self.app.ensure_sync)

    def _tear_down(self, exc: BaseException | None) -> None:
        for function in self._teardowns:
            function(exc)
        if flask.appcontext_tearing_down.receivers:
            flask.appcontext_tearing_down.send(self.app, _async_wrapper=self.app.ensure_sync, exc=exc)
