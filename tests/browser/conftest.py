"""Fixtures: a server started with `api serve`, a reverse proxy in front of it, and Chromium."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.browser.reader import PREFIX, ROOT, SwaggerUI
from tests.debian import find

PROXIED_HOST = "shop.example"

# Only the pages under test may use the network. Chromium's sandbox does not work for root.
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    f"--host-resolver-rules=MAP {PROXIED_HOST} 127.0.0.1",
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
]

# A JSON body makes the browser send a preflight request first.
FETCH = """async ([url, method, body]) => {
  const sent = body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(url, { method, ...sent });
  const [location, etag] = ["location", "etag"].map((name) => answer.headers.get(name));
  return { status: answer.status, location, etag, body: await answer.json() };
}"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshot", action="store_true", help="take the picture of the README anew")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server on a new SQLite file, which trusts a proxy on this machine and allows one origin."""
    folder = tmp_path_factory.mktemp("server")
    port = _free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{folder}/api.db",
        "API_TRUSTED_PROXIES": "127.0.0.1",
        "API_CORS_ORIGINS": f"http://app.localhost:{port}",
        "API_LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-m", "api", "serve", "--port", str(port)]
    with _running(command, environment) as process:
        base = f"http://127.0.0.1:{port}"
        _wait(process, f"{base}/api/health/ready")
        yield base


@pytest.fixture(scope="session")
def proxied(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of the same server behind nginx: another host and scheme, and a path prefix that nginx removes."""
    folder = tmp_path_factory.mktemp("nginx")
    port = _free_port()
    files = ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    certificate = [find("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={PROXIED_HOST}"]
    subprocess.run([*certificate, *files], check=True, capture_output=True)
    configuration = folder / "nginx.conf"
    configuration.write_text(_nginx(folder, port, server))
    with _running([find("nginx"), "-p", str(folder), "-c", str(configuration), "-e", "stderr"]) as process:
        _wait(process, f"https://127.0.0.1:{port}{PREFIX}/api/health/ready")
        yield f"https://{PROXIED_HOST}:{port}{PREFIX}"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for the run."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., SwaggerUI]]:
    """Opens Swagger UI; the test fails if the page requests anything from another server or reports an error."""
    opened: list[tuple[BrowserContext, SwaggerUI]] = []

    def open_page(base: str, **options: Any) -> SwaggerUI:
        context = chromium.new_context(ignore_https_errors=True, **options)
        context.set_default_timeout(10_000)
        swagger = SwaggerUI(context.new_page(), f"{base}/api/ui/")
        opened.append((context, swagger))
        swagger.visit()
        return swagger

    yield open_page
    for context, swagger in opened:
        context.close()
        elsewhere = [url for url in swagger.requested if not url.startswith((swagger.origin + "/", "data:"))]
        assert (elsewhere, swagger.complaints) == ([], [])


@pytest.fixture
def fetch(chromium: Browser, server: str) -> Iterator[Callable[..., dict[str, Any]]]:
    """Sends a request from a page of another origin; returns what the page may read, raises if it may read nothing."""
    port = server.rpartition(":")[2]
    context = chromium.new_context()

    def ask(origin: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
        page = context.new_page()
        page.goto(f"http://{origin}.localhost:{port}/api/health/live")
        read: dict[str, Any] = page.evaluate(FETCH, [server + path, method, body])
        return read

    yield ask
    context.close()


@pytest.fixture
def swagger(visit: Callable[..., SwaggerUI], server: str) -> SwaggerUI:
    """Swagger UI in a desktop browser."""
    return visit(server, viewport={"width": 1280, "height": 900})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _running:  # noqa: N801  # reads as `with running(…)`
    def __init__(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(command, env=environment, cwd=ROOT)

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    unverified = ssl._create_unverified_context()
    for _ in range(200):
        assert process.poll() is None, "it did not start"
        try:
            with urllib.request.urlopen(url, timeout=5, context=unverified):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"no answer from {url}")


def _nginx(folder: Path, port: int, server: str) -> str:
    # Started by root, nginx would run its workers as another user, who may not enter the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; {user}
events {{}}
http {{
  access_log off; {temporary}
  types {{}}
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;
    location {PREFIX}/ {{
      proxy_pass {server}/;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Prefix {PREFIX};
    }}
  }}
}}
"""
