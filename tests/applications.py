"""Additional applications for tests: with other settings, or on another database."""

from collections.abc import Iterator
from contextlib import contextmanager

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
