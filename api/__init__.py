"""A users-and-posts HTTP API, contract first."""

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api.app import create_app
    from api.database import db

# Connexion 3.3 imports Starlette's test client, which warns about httpx. Only Connexion can change that import.
warnings.filterwarnings("ignore", "Using `httpx` with `starlette.testclient`")

__all__ = ["create_app", "db"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `api --help` takes 0.1 seconds instead of 1.
    if name == "create_app":
        from api.app import create_app

        return create_app
    if name == "db":
        from api.database import db

        return db
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
