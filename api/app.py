"""The composition root: builds one application from the contract, the handlers, the settings and the database."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from api import database, health, posts, users
from api.config import Settings
from api.idempotency import Keys
from contractapp import ContractApp, Problem, Workers, cors, trusted_proxies


def create_app(config: object = None) -> ContractApp:
    """The ASGI application; its attribute `app` is the Flask application.

    The settings come from `config`, a mapping, object or class with Flask's upper-case names, or without it from the
    environment. Raises `ConfigurationError` or `ContractError`. Does not connect to the database.
    """
    settings = Settings.from_env() if config is None else Settings.from_config(config)
    app = ContractApp(
        "api",
        workers=_workers(settings),
        inline=["get_liveness"] if settings.in_memory else ["get_liveness", *operations(users, posts)],
        max_body_bytes=settings.max_body_bytes,
        require_if_match=settings.require_if_match,
        server_args={"static_folder": None},
        strict_validation=True,
        validate_responses=settings.response_validation,
        landing="/",
        lifespan=_lifespan(lambda: _close(app, settings)),
        idempotency_store=Keys(hours=settings.idempotency_hours, is_sqlite=settings.is_sqlite),
        problem_body=problem_body,
        middlewares=[*_layers(settings), *ContractApp.default_middlewares],
    )
    app.app.config.update(settings.flask_config)
    database.init_app(app.app, settings)
    handlers = operations(users, posts, health)
    app.add_api(_contract(), handlers=handlers)
    database.report_slow_statements(app.app, handlers.values())
    return app


def problem_body(problem: Problem) -> dict[str, object]:
    """The members of a problem. `error` repeats `detail` for clients of the original API, which had this member."""
    return {**problem.body(), "error": problem.detail}


def operations(*modules: ModuleType) -> dict[str, FunctionType]:
    """The public functions of the handler modules by name, which is the operationId."""
    return {
        name: function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }


def _lifespan(shut_down: Callable[[], None]) -> Callable[[Any], Any]:
    """A lifespan context: `shut_down` is called when the server stops, after every request has been answered."""

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        shut_down()

    return lifespan


def _close(app: ContractApp, settings: Settings) -> None:
    # When the last connection is closed, SQLite writes its log back into the database and removes the log.
    if not settings.in_memory:  # closing the connection would delete a database in memory
        database.dispose(app.app)


def _contract() -> Path:
    """The path of the contract: inside the package in a wheel, beside the package in a checkout."""
    package = Path(__file__).parent
    inside = package / "openapi" / "openapi.yaml"
    return inside if inside.exists() else package.parent / "openapi" / "openapi.yaml"


def _layers(settings: Settings) -> Iterator[Callable[[Any], Any]]:
    """The outermost middlewares, through which error responses pass as well."""
    if settings.trusted_proxies:
        yield trusted_proxies(settings.trusted_proxies)
    if settings.cors_origins:
        yield cors(settings.cors_origins)


def _workers(settings: Settings) -> Workers:
    # A database in memory has one connection, so one thread runs all handlers in turn.
    return Workers(
        read_threads=1 if settings.in_memory else settings.read_threads,
        write_threads=0 if settings.in_memory else settings.write_threads,
        queue_size=settings.queue_size,
        timeout_seconds=settings.request_timeout_seconds,
    )
