"""The programs of the section "Create once" of docs/clients.md: the connection breaks before the answer arrives."""

import http.client
import os
import re
import shutil
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

ROOT = Path(__file__).parent.parent.parent
DEFAULT_URL = "http://127.0.0.1:8000/api"
JAKARTA_ANNOTATIONS = "/usr/share/java/jakarta-annotation-api.jar"

SECTION = (ROOT / "docs" / "clients.md").read_text().split("\n## Create once\n", 1)[1].split("\n## ", 1)[0]
PROGRAMS = dict(re.findall(r"^Save this as `clients/(\S+)`:\n\n```\w+\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE))
(SHOWN,) = re.findall(r"```text\n(.*?)```", SECTION, re.DOTALL)


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


@pytest.fixture
def saved(make, workshop):
    """Makes the client of a language and saves its program; returns the program's path."""

    def save(language: str, name: str) -> Path:
        make(language)
        path = workshop.folder / "clients" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PROGRAMS[name].replace(DEFAULT_URL, workshop.url), encoding="utf-8")
        return path

    return save


def created_once(cut, said):
    assert said == SHOWN
    assert cut.users() == [{"id": 1, "username": "ada", "email": "ada@example.com"}]
    keys = [key for key, _ in cut.seen]
    assert (len(keys), len(set(keys)), {status for _, status in cut.seen}) == (2, 1, {201})
    return True


def test_python(saved, cut, workshop):
    program = saved("Python", "once.py")

    said = workshop.run(sys.executable, str(program), PYTHONPATH=str(program.parent / "python"))

    assert created_once(cut, said)


def test_typescript(debian, saved, cut, workshop):
    debian("npm")
    program = saved("TypeScript", "typescript/once.ts")
    strict = ["--strict", "--noUncheckedIndexedAccess", "--target", "es2022", "--module", "nodenext", "--types", "node"]
    workshop.run("npx", "tsc", *strict, "--outDir", "once", "once.ts", cwd=program.parent)

    said = workshop.run("node", "once/once.js", cwd=program.parent)

    assert created_once(cut, said)


def test_java(debian, saved, cut, workshop, jar):
    debian("java")
    debian("javac")
    program = saved("Java", "java/Once.java")
    out = program.parent / "once"
    libraries = os.pathsep.join([str(jar), JAKARTA_ANNOTATIONS])
    sources = [program, *(program.parent / "src" / "main").rglob("*.java")]
    workshop.run("javac", "-encoding", "UTF-8", "-d", str(out), "-cp", libraries, *map(str, sources))

    said = workshop.run("java", "-Dfile.encoding=UTF-8", "-cp", os.pathsep.join([str(out), libraries]), "Once")

    assert created_once(cut, said)


def test_go(debian, saved, cut, workshop):
    debian("go")
    program = saved("Go", "go/once/main.go")
    cache = f"{workshop.folder}/go-once"

    said = workshop.run(
        "go", "run", "./once", cwd=program.parent.parent, GOPATH=cache, GOCACHE=f"{cache}/build", GOPROXY="off"
    )
    shutil.rmtree(program.parent)

    assert created_once(cut, said)
