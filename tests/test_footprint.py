"""What a serving process does not import: packages that it never uses would take memory and time at each start."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# `api serve` up to the moment at which the server would start, and one check of the schema, as clients ask for it.
SERVE = """
import json, sys
from contractapp import server

def serve(application, listener, **_):
    from api import health
    with application.app.app_context():
        health.get_readiness()
    print(json.dumps(sorted(sys.modules)))

server.serve = serve
from api.cli import main
main(["serve", "--port", "0"])
"""


def run(url, *arguments):
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """The modules of a process that serves an SQLite database whose schema is up to date."""
    url = f"sqlite:///{tmp_path_factory.mktemp('database')}/api.db"
    run(url, "-m", "api", "upgrade")
    return set(json.loads(run(url, "-c", SERVE).splitlines()[-1]))


@pytest.mark.parametrize("package", ["alembic", "mako", "psycopg", "httpx", "requests", "starlette.testclient"])
def test_a_process_that_serves_does_not_import(modules, package):
    assert "api.database" in modules
    assert package not in modules
