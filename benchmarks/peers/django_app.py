"""Django's settings, with connections that are kept, and the application whose URLs are in django_modern_rest.py."""

import os
from typing import Any

from django.core.wsgi import get_wsgi_application
from sqlalchemy import make_url

from benchmarks.peers.tables import DATABASE_URL, IS_SQLITE, SQLITE_PRAGMAS


def _database() -> dict[str, Any]:
    url = make_url(DATABASE_URL)
    if IS_SQLITE:
        pragmas = "; ".join(f"PRAGMA {pragma}" for pragma in SQLITE_PRAGMAS)
        options = {"init_command": pragmas, "transaction_mode": "IMMEDIATE"}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": url.database, "OPTIONS": options}
    server = {"NAME": url.database, "USER": url.username, "HOST": url.query["host"]}
    return {"ENGINE": "django.db.backends.postgresql", **server}


ALLOWED_HOSTS = ["127.0.0.1"]
DATABASES = {"default": {**_database(), "CONN_MAX_AGE": None}}
ROOT_URLCONF = "benchmarks.peers.django_modern_rest"

os.environ["DJANGO_SETTINGS_MODULE"] = __name__
app = get_wsgi_application()
