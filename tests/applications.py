"""Applications beside the run's own: with other settings, or on another database."""

from collections.abc import Iterator
from contextlib import contextmanager

from api import create_app, database
from contractapp import ContractApp

# Time limits that a request reaches on no machine, however busy: a 503 then has another reason than a slow machine.
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
    """An application of this configuration; its time limits are out of reach unless given.

    Its connections are closed at the end.
    """
    app = create_app({"TESTING": True, **PATIENT, **config})
    try:
        yield app
    finally:
        database.dispose(app.app)
