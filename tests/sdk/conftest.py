"""Clients as docs/clients.md has them made, and the real service for them to talk to (`tox -e sdk`).

Every client is made from the contract by the commands of docs/clients.md, in a folder of the run's own. The one
thing changed is the port that the contract's `servers` names, so that a client without configuration finds the
server of the run and no other.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DEFAULT_URL = "http://127.0.0.1:8000/api"

# What answers a command that is missing, on Debian.
PACKAGES = {
    "java": ("default-jdk-headless", "libjakarta-annotation-api-java"),
    "javac": ("default-jdk-headless", "libjakarta-annotation-api-java"),
    "go": ("golang-go",),
    "npm": ("nodejs", "npm"),
}
JAKARTA_ANNOTATIONS = Path("/usr/share/java/jakarta-annotation-api.jar")


@pytest.fixture(scope="session")
def contract() -> dict:
    return yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text())


@pytest.fixture(scope="session")
def models(contract) -> set[str]:
    """The names of the contract's objects."""
    return {name for name, schema in contract["components"]["schemas"].items() if schema["type"] == "object"}


@pytest.fixture(scope="session")
def operations(contract) -> dict[str, dict]:
    """The contract's operations by their operationId."""
    return {
        operation["operationId"]: {**operation, "path": path}
        for path, item in contract["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


@pytest.fixture(scope="session")
def guide() -> Callable[[str], SimpleNamespace]:
    """A section of docs/clients.md: its commands, its program, the text it shows."""
    text = (ROOT / "docs" / "clients.md").read_text()

    def section(heading: str) -> SimpleNamespace:
        found = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
        blocks = re.findall(r"```(\w+)\n(.*?)```", found, re.DOTALL)
        return SimpleNamespace(
            commands=[line for language, code in blocks if language == "sh" for line in code.splitlines()],
            programs=[code for language, code in blocks if language not in {"sh", "text"}],
            shown=[code for language, code in blocks if language == "text"],
        )

    return section


@pytest.fixture(scope="session")
def workshop(tmp_path_factory) -> SimpleNamespace:
    """A folder with the contract, where commands run as in a checkout; its contract names `url` as the server."""
    folder = tmp_path_factory.mktemp("workshop")
    url = f"http://127.0.0.1:{_free_port()}/api"
    written = (ROOT / "openapi" / "openapi.yaml").read_text()
    assert written.count(f"- url: {DEFAULT_URL}\n") == 1
    (folder / "openapi").mkdir()
    (folder / "openapi" / "openapi.yaml").write_text(written.replace(DEFAULT_URL, url))

    def run(*command: str, cwd: Path = folder, **environment: str) -> str:
        """What the command wrote to its standard output."""
        done = subprocess.run(
            command,
            cwd=cwd,
            env=_environment(**environment),
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    return SimpleNamespace(folder=folder, url=url, run=run)


@pytest.fixture(scope="session")
def make(workshop, guide) -> Callable[[str], None]:
    """Makes a client, once, by the commands of its section, except those that install: the environment has."""

    @cache
    def make(language: str) -> None:
        for command in guide(language).commands:
            if not command.startswith(("pip install", "npm install")):
                workshop.run("sh", "-c", command)

    return make


@pytest.fixture(scope="session")
def debian() -> Callable[[str], None]:
    """Sees to it that a command is there: from Debian, where we may install, else says what is missing."""

    def need(command: str) -> None:
        there = shutil.which(command) and ("java" not in command or JAKARTA_ANNOTATIONS.exists())
        if there:
            return
        packages = PACKAGES[command]
        if not shutil.which("apt-get") or os.geteuid() != 0:
            pytest.fail(f"{command} is missing; on Debian it comes with: apt-get install {' '.join(packages)}")
        apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]
        for step in (["update"], ["install", "--no-install-recommends", *packages]):
            subprocess.run([*apt, *step], check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})

    return need


@pytest.fixture(scope="session")
def node(workshop, debian) -> Path:
    """The workshop with the locked packages of typescript/package.json in its node_modules."""
    debian("npm")
    for name in ("package.json", "package-lock.json", ".npmrc", "tsconfig.json"):
        shutil.copy(HERE / "typescript" / name, workshop.folder)
    workshop.run("npm", "ci", "--silent")
    return workshop.folder


@pytest.fixture(scope="session")
def jar() -> Path:
    """The generator, which brings along the Jackson that its Java clients want."""
    import openapi_generator_cli

    return Path(openapi_generator_cli.__file__).with_name("openapi-generator.jar")


@pytest.fixture
def server(workshop, tmp_path) -> Iterator[str]:
    """The URL of the service, started on an empty SQLite file where the workshop's contract says it is."""
    port = workshop.url.split(":")[2].removesuffix("/api")
    command = [str(Path(sys.executable).with_name("api")), "serve", "--port", port]
    with _process(command, cwd=tmp_path, url=f"{workshop.url}/health/ready", DATABASE_URL="sqlite:///sdk.db"):
        yield workshop.url


@pytest.fixture(scope="session")
def mock(workshop, node, guide) -> Iterator[str]:
    """The URL of the mock server, which gives the answer that a request's `Prefer` header asks for."""
    (command,) = guide("Mock server").commands
    port = _free_port()
    with _process([*command.split(), "--port", str(port)], cwd=node, url=f"http://127.0.0.1:{port}/health/live"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _process(command: list[str], *, cwd: Path, url: str, **environment: str) -> Iterator[None]:
    """The command, answering at the URL, until the block ends."""
    with (cwd / "server.log").open("w+") as log:
        process = subprocess.Popen(
            command, cwd=cwd, env=_environment(**environment), stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait(process, url, log)
            yield
        finally:
            # The whole group, since npx and workers are processes of their own.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)


def _wait(process: subprocess.Popen, url: str, log) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with closing(urllib.request.urlopen(url, timeout=5)):
                return
        except OSError:
            time.sleep(0.1)
    log.seek(0)
    pytest.fail(f"no answer from {url}\n{log.read()}")


def _environment(**more: str) -> dict[str, str]:
    """Ours with this Python's commands first; npx may use what is installed and fetch nothing."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "npm_config_yes": "false", **more}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
