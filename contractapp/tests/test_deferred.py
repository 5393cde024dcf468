"""The HTTP clients that Connexion imports: they are imported when something uses them, and work as ever."""

import subprocess
import sys

import pytest

CLIENTS = "httpx, requests, starlette.testclient"
LOADED = f"[name for name in {CLIENTS.split(', ')} if name in sys.modules]"


def after_import(script, *, before=""):
    """What a script prints in a process that imported the library, and other modules before."""
    code = f"import sys\n{before}\nfrom contractapp import ContractApp\nimport connexion\n{script}"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.strip()


def test_an_application_imports_no_http_client():
    assert after_import(f"ContractApp(__name__)\nprint({LOADED})") == "[]"


@pytest.mark.parametrize(
    "used",
    [
        "connexion.security.httpx.AsyncClient is sys.modules['httpx'].AsyncClient",
        "connexion.json_schema.requests.get is sys.modules['requests'].get",
        "type(ContractApp('a').test_client()) is sys.modules['starlette.testclient'].TestClient",
        "type(connexion.FlaskApp('a').test_client()) is sys.modules['starlette.testclient'].TestClient",
    ],
)
def test_connexion_imports_a_client_when_it_is_used(used):
    assert after_import(f"print({used})") == "True"


@pytest.mark.parametrize("name", CLIENTS.split(", "))
def test_other_modules_get_the_client_itself(name):
    assert after_import(f"import {name}\nprint(type({name}).__name__, {name}.__file__ is not None)") == "module True"


def test_clients_that_are_imported_already_are_used():
    used = "connexion.security.httpx is httpx, connexion.apps.abstract.TestClient is starlette.testclient.TestClient"

    assert after_import(f"print({used})", before=f"import {CLIENTS}") == "True True"


def test_connexion_may_be_imported_first():
    assert after_import(f"print({LOADED})", before="import connexion") == str(CLIENTS.split(", "))
