"""Applications beside the run's own: with other settings, or on another database."""

from collections.abc import Iterator
from contextlib import contextmanager

from api import create_app, database
from contractapp import ContractApp


@contextmanager
def application(**config: object) -> Iterator[ContractApp]:
    """An application of this configuration; its connections are closed at the end."""
    app = create_app({"TESTING": True, **config})
    try:
        yield app
    finally:
        database.dispose(app.app)
