"""Small contracts, and fixtures that serve one with compiled operations or with stock Connexion."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import connexion
import pytest

from contractapp import ContractApp


@pytest.fixture(scope="session")
def contract() -> Callable[..., dict[str, Any]]:
    """An OpenAPI document with these paths. An operation without responses gets one that matches every response."""

    def make(paths: dict[str, Any], schemas: dict[str, Any] | None = None, **more: object) -> dict[str, Any]:
        paths = deepcopy(paths)
        for path_item in paths.values():
            for method, operation in path_item.items():
                if method in {"get", "put", "post", "delete", "options", "head", "patch", "trace"}:
                    operation.setdefault("responses", {"default": {"description": "Whatever it is."}})
        return {
            "openapi": "3.0.3",
            "info": {"title": "Tests", "version": "1"},
            "servers": [{"url": "/"}],
            "paths": paths,
            "components": {"schemas": schemas or {}},
            **more,
        }

    return make


@pytest.fixture(scope="session")
def compiled() -> Callable[..., ContractApp]:
    """An application with compiled operations, made of a document and handlers, which are found by name."""

    def make(document: dict[str, Any], *handlers: Callable[..., Any], **options: Any) -> ContractApp:
        added = {key: options.pop(key) for key in ("base_path", "name", "resolver_error") if key in options}
        app = ContractApp("api", **options)
        app.add_api(deepcopy(document), resolver=by_name(handlers), **added)
        return app

    return make


@pytest.fixture(scope="session")
def stock() -> Callable[..., connexion.FlaskApp]:
    """The same application on stock Connexion."""

    def make(document: dict[str, Any], *handlers: Callable[..., Any], **options: Any) -> connexion.FlaskApp:
        added = {key: options.pop(key) for key in ("base_path", "name", "resolver_error") if key in options}
        app = connexion.FlaskApp("api", **options)
        app.add_api(deepcopy(document), resolver=by_name(handlers), **added)
        return app

    return make


def by_name(handlers: Iterable[Callable[..., Any]]) -> connexion.resolver.Resolver:
    """A resolver of Connexion that finds the handlers of a test by their names."""
    names = {handler.__name__: handler for handler in handlers}

    def find(operation_id: str) -> Callable[..., Any]:
        if operation_id not in names:
            raise ValueError(f"There is no {operation_id}")
        return names[operation_id]

    return connexion.resolver.Resolver(find)
