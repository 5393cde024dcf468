"""A contract-first runtime for Connexion and Flask: it compiles the OpenAPI document at start-up and enforces it.

These are the public names of the runtime. Other public modules are `contractapp.server` (extra `server`),
`contractapp.compat` and `contractapp.testing` (extra `test`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from contractapp.deferred import import_connexion

if TYPE_CHECKING:
    from contractapp.app import ContractApp as ContractApp
    from contractapp.asgi.cors import cors as cors
    from contractapp.asgi.proxies import trusted_proxies as trusted_proxies
    from contractapp.compile.document import ContractError as ContractError
    from contractapp.idempotency import Claim as Claim
    from contractapp.idempotency import IdempotencyStore as IdempotencyStore
    from contractapp.idempotency import Remembered as Remembered
    from contractapp.preconditions import EntityTags as EntityTags
    from contractapp.problems import ContentTooLarge as ContentTooLarge
    from contractapp.problems import Fault as Fault
    from contractapp.problems import IdempotencyKeyInUse as IdempotencyKeyInUse
    from contractapp.problems import IdempotencyKeyReused as IdempotencyKeyReused
    from contractapp.problems import InternalError as InternalError
    from contractapp.problems import InvalidRequest as InvalidRequest
    from contractapp.problems import MethodNotAllowed as MethodNotAllowed
    from contractapp.problems import NotFound as NotFound
    from contractapp.problems import PreconditionFailed as PreconditionFailed
    from contractapp.problems import PreconditionRequired as PreconditionRequired
    from contractapp.problems import Problem as Problem
    from contractapp.problems import RequestTimeout as RequestTimeout
    from contractapp.problems import Unavailable as Unavailable
    from contractapp.problems import UnsupportedMediaType as UnsupportedMediaType
    from contractapp.serve.inline import in_event_loop as in_event_loop
    from contractapp.serve.inline import in_thread as in_thread
    from contractapp.serve.inline import wait as wait
    from contractapp.serve.workers import Workers as Workers

_MODULES = {
    "ContractApp": "contractapp.app",
    "Workers": "contractapp.serve.workers",
    **dict.fromkeys(("in_event_loop", "in_thread", "wait"), "contractapp.serve.inline"),
    "ContractError": "contractapp.compile.document",
    "cors": "contractapp.asgi.cors",
    "trusted_proxies": "contractapp.asgi.proxies",
    "EntityTags": "contractapp.preconditions",
    **dict.fromkeys(("Claim", "IdempotencyStore", "Remembered"), "contractapp.idempotency"),
    **dict.fromkeys(
        (
            *("Problem", "Fault", "InvalidRequest", "NotFound", "MethodNotAllowed", "RequestTimeout"),
            *("PreconditionFailed", "PreconditionRequired"),
            *("ContentTooLarge", "UnsupportedMediaType", "Unavailable", "InternalError"),
            *("IdempotencyKeyInUse", "IdempotencyKeyReused"),
        ),
        "contractapp.problems",
    ),
}

__all__ = sorted(_MODULES)  # noqa: PLE0605  # each is imported above for type checkers


if not TYPE_CHECKING:  # type checkers would otherwise accept every name

    def __getattr__(name: str) -> Any:
        # Imported on first use: a module that only raises problems does not wait for the import of Connexion (0.5 s).
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "ContractApp":
            import_connexion()
        return getattr(import_module(_MODULES[name]), name)
