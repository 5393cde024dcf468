"""The programs of the section "Create once" of docs/clients.md: the connection breaks before the answer arrives."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from tests.sdk.programs import LANGUAGES

HEADING = "Create once"


@pytest.fixture
def service(tmp_path) -> Iterator[int]:
    """The port of the service, started on an empty SQLite file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path}/once.db"}
    command = [str(Path(sys.executable).with_name("api")), "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.1)
    yield port
    process.terminate()
    process.wait(20)


@pytest.fixture
def cut(service, workshop) -> Iterator[SimpleNamespace]:
    """A proxy at the address of the run. It closes the connection of the first POST after the service has answered.

    `seen` has the key and the status of each POST.
    """
    seen = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            connection = http.client.HTTPConnection("127.0.0.1", service)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            connection.request("POST", self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            seen.append((self.headers["Idempotency-Key"], answer.status))
            self.close_connection = True
            if len(seen) > 1:
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    port = int(workshop.url.split(":")[2].removesuffix("/api"))
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        yield SimpleNamespace(seen=seen, users=lambda: httpx.get(f"http://127.0.0.1:{service}/api/users").json())
        proxy.shutdown()
        thread.join()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_request_that_is_sent_again_creates_one_user(language, program, cut, guide):
    said = program(HEADING, language)

    assert [said] == guide(HEADING).shown
    assert cut.users() == [{"id": 1, "username": "ada", "email": "ada@example.com"}]
    keys = [key for key, _ in cut.seen]
    assert (len(keys), len(set(keys)), {status for _, status in cut.seen}) == (2, 1, {201})
