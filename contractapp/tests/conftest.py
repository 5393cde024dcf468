"""Small contracts, and fixtures that serve one with compiled operations or with stock Connexion."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import connexion
import pytest

from contractapp import ContractApp


@pytest.fixture(scope="session")
def contract() -> Callable[..., dict[str, Any]]:
    """An OpenAPI document around `paths`, an operation without responses getting one that fits everything."""

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
    """A compiled application of a document and its handlers by name."""

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
    """Connexion's own resolver, for handlers that are made in a test."""
    names = {handler.__name__: handler for handler in handlers}

    def find(operation_id: str) -> Callable[..., Any]:
        if operation_id not in names:
            raise ValueError(f"There is no {operation_id}")
        return names[operation_id]

    return connexion.resolver.Resolver(find)
