"""The composition root: joins contract, handlers, settings and database into one application."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from connexion.middleware import ConnexionMiddleware

from api import database, health, posts, users
from api.config import ConfigurationError, Settings
from contractapp import ContractApp, Problem, Workers, cors, trusted_proxies


def create_app(config: object = None) -> ContractApp:
    """The application; `.app` is the Flask application.

    Without a config the environment is read; a mapping, object or class with Flask's upper-case names is taken as
    it is. Raises `ConfigurationError` or `ContractError`. Never touches the database's schema.
    """
    settings = Settings.from_env() if config is None else Settings.from_config(config)
    app = ContractApp(
        "api",
        workers=_workers(settings),
        inline=["get_liveness"],
        max_body_bytes=settings.max_body_bytes,
        server_args={"static_folder": None},
        strict_validation=True,
        validate_responses=settings.response_validation,
        landing="/",
        lifespan=_lifespan(lambda: _close(app, settings)),
        problem_body=problem_body,
        middlewares=[*_layers(settings), *ConnexionMiddleware.default_middlewares],
    )
    app.app.config.update(settings.flask_config)
    database.init_app(app.app, settings)
    handlers = operations(users, posts, health)
    app.add_api(_contract(), handlers=handlers)
    database.report_slow_statements(app.app, handlers.values())
    return app


def problem_body(problem: Problem) -> dict[str, object]:
    """The members of a problem; `error` repeats `detail` for clients that read the original API's member."""
    return {**problem.body(), "error": problem.detail}


def operations(*modules: ModuleType) -> dict[str, FunctionType]:
    """The public functions of the handler modules, by the operationId that each is named for."""
    return {
        name: function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }


def _lifespan(at_its_end: Callable[[], None]) -> Callable[[Any], Any]:
    """What a server enters when it starts, and leaves when every request has been answered."""

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        at_its_end()

    return lifespan


def _close(app: ContractApp, settings: Settings) -> None:
    # SQLite writes its log back into the database, and removes it, when the last connection is closed.
    if not settings.in_memory:  # there the connection is the database
        database.dispose(app.app)


def _contract() -> Path:
    """Inside the package (a wheel), else beside it (a checkout)."""
    package = Path(__file__).parent
    inside = package / "openapi" / "openapi.yaml"
    return inside if inside.exists() else package.parent / "openapi" / "openapi.yaml"


def _layers(settings: Settings) -> Iterator[Callable[[Any], Any]]:
    """What stands in front of everything else, so that refusals pass through it too."""
    for name, layer, values in (
        ("API_TRUSTED_PROXIES", trusted_proxies, settings.trusted_proxies),
        ("API_CORS_ORIGINS", cors, settings.cors_origins),
    ):
        try:
            made = [layer(values)] if values else []
        except ValueError as error:
            raise ConfigurationError(f"{name}: {error}") from None
        yield from made


def _workers(settings: Settings) -> Workers:
    # An in-memory database is one connection, so that everything takes its turn in one thread.
    return Workers(
        read_threads=1 if settings.in_memory else settings.read_threads,
        write_threads=0 if settings.in_memory else settings.write_threads,
        queue_size=settings.queue_size,
        timeout_seconds=settings.request_timeout_seconds,
    )
