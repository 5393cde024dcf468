"""Imports Connexion without the HTTP clients that it imports: a server seldom uses them, and they take 7 MB and 0.1 s.

Connexion 3.3 uses httpx to ask an OAuth server about a token, requests to load a schema from a URL, and Starlette's
`TestClient`, which imports httpx, for `test_client()`. Each is imported when Connexion first uses it.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def import_connexion() -> None:
    """Import Connexion, unless it is imported; every other module that imports the clients gets the clients."""
    if "connexion" in sys.modules:
        return
    test_client = _Deferred("starlette.testclient")
    test_client.TestClient = _test_client  # type: ignore[attr-defined]  # an attribute of the module it stands for
    deferred = {module.__name__: module for module in (_Deferred("httpx"), _Deferred("requests"), test_client)}
    placed = {name: module for name, module in deferred.items() if name not in sys.modules}
    sys.modules.update(placed)
    try:
        import_module("connexion")
    finally:
        for name, module in placed.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


class _Deferred(ModuleType):
    """Stands for a module, which is imported when one of its attributes is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `from … import …` asks for `__path__`
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def _test_client(*arguments: Any, **options: Any) -> Any:
    return import_module("starlette.testclient").TestClient(*arguments, **options)
