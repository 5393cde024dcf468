"""Additional applications for tests: with other settings, or on another database."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

from api import create_app, database
from contractapp import ContractApp

# No request reaches these time limits, even on a busy machine: a 503 then has a reason other than a slow machine.
PATIENT = dict.fromkeys(
    (
        "API_CONNECT_TIMEOUT_SECONDS",
        "API_LOCK_TIMEOUT_SECONDS",
        "API_POOL_TIMEOUT_SECONDS",
        "API_REQUEST_TIMEOUT_SECONDS",
        "API_STATEMENT_TIMEOUT_SECONDS",
    ),
    600,
)


@contextmanager
def application(**config: object) -> Iterator[ContractApp]:
    """An application with this configuration; its time limits are never reached unless given.

    Its connections are closed at the end.
    """
    app = create_app({"TESTING": True, **PATIENT, **config})
    try:
        yield app
    finally:
        database.dispose(app.app)


@contextmanager
def key_held(app: ContractApp, key: str) -> Iterator[None]:
    """Another request of this application, which does not end before the block does, holds an idempotency key."""
    held, end = Event(), Event()

    def hold() -> None:
        try:
            with app.app.app_context(), app._idempotency_store.claim(key):
                held.set()
                end.wait()
        finally:
            held.set()

    with ThreadPoolExecutor(1) as thread:  # a context that is open in this thread would be that of the requests, too
        holding = thread.submit(hold)
        held.wait()
        try:
            yield
        finally:
            end.set()
            holding.result()
