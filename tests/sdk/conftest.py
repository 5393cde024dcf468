"""Fixtures: clients made by the commands of docs/clients.md, and the real service (`tox -e sdk`).

Every client is made in the checkout, by the commands as they are printed, and stays in `clients/`. The programs run in
a folder with a copy of `clients/`. Only the port is changed there, so that a client without configuration finds the
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
GIT = ROOT / ".git"
DEFAULT_URL = "http://127.0.0.1:8000/api"

# The Debian package of each command.
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


# A block of a page, and the file that the line before the block names.
BLOCK = re.compile(r"(?:^Save this as `(\S+)`:\n\n)?^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="session")
def guide() -> Callable[[str], SimpleNamespace]:
    """A section of docs/clients.md: commands before and after the files, the files by path, the text it shows."""
    text = (ROOT / "docs" / "clients.md").read_text()

    def section(heading: str) -> SimpleNamespace:
        found = SimpleNamespace(make=[], files={}, run=[], shown=[])
        for path, language, code in BLOCK.findall(text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]):
            if path:
                found.files[path] = code
            elif language == "sh":
                (found.run if found.files else found.make).append(code)
            else:
                found.shown.append(code)
        return found

    return section


@pytest.fixture(scope="session")
def workshop(tmp_path_factory) -> SimpleNamespace:
    """A folder for copies of the clients, the address that they have there, and a function that runs a command."""
    folder = tmp_path_factory.mktemp("workshop")
    url = f"http://127.0.0.1:{_free_port()}/api"

    def run(*command: str, cwd: Path = folder, **environment: str) -> str:
        """Run a command; its standard output."""
        done = subprocess.run(
            command,
            cwd=cwd,
            env=_environment(**environment),
            capture_output=True,
            encoding="utf-8",
            timeout=600,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    return SimpleNamespace(folder=folder, url=url, run=run)


@pytest.fixture(scope="session")
def make(workshop, guide) -> Callable[[str], Path]:
    """Makes the client of a language with the commands of its section; the folder of its copy with the run's address.

    The commands run twice, since a reader runs them again after a change of the contract.
    """

    @cache
    def make(language: str) -> Path:
        before = _untracked(workshop)
        for block in guide(language).make * 2:
            workshop.run("sh", "-ec", block, cwd=ROOT)
        assert _untracked(workshop) == before
        copy = workshop.folder / "clients" / language.lower()
        shutil.copytree(ROOT / "clients" / language.lower(), copy, symlinks=True)
        for path in copy.rglob("*"):
            if path.is_file() and "node_modules" not in path.parts and DEFAULT_URL.encode() in path.read_bytes():
                path.write_bytes(path.read_bytes().replace(DEFAULT_URL.encode(), workshop.url.encode()))
        return copy

    return make


def _untracked(workshop) -> str:
    """What git calls changed or untracked; the empty text in a folder that is not git's."""
    return workshop.run("git", "status", "--porcelain", "--untracked-files=all", cwd=ROOT) if GIT.exists() else ""


@pytest.fixture(scope="session")
def example(workshop, make, guide) -> Callable[..., str]:
    """Saves the files of a section where it says, runs its last commands, and returns what they print."""

    def example(language: str, **environment: str) -> str:
        make(language)
        for path, text in guide(language).files.items():
            (workshop.folder / path).parent.mkdir(exist_ok=True)
            (workshop.folder / path).write_text(text.replace(DEFAULT_URL, workshop.url), encoding="utf-8")
        (block,) = guide(language).run
        return workshop.run("sh", "-ec", block, **environment)

    return example


@pytest.fixture(scope="session")
def debian() -> Callable[[str], None]:
    """Installs a command from Debian if the user may do so; otherwise fails and names the missing command."""

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
def jar() -> Path:
    """The jar of the generator, which contains the Jackson library that its Java clients need."""
    import openapi_generator_cli

    return Path(openapi_generator_cli.__file__).with_name("openapi-generator.jar")


@pytest.fixture
def program(debian, make, workshop, guide, jar) -> Callable[[str, str], str]:
    """Saves the program of a section and a language where it says, compiles it, and returns what it prints."""
    from tests.sdk.programs import LANGUAGES

    def program(heading: str, language: str) -> str:
        commands, ending, run = LANGUAGES[language]
        for command in commands:
            debian(command)
        make(language)
        ((name, text),) = [file for file in guide(heading).files.items() if file[0].endswith(ending)]
        path = workshop.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(DEFAULT_URL, workshop.url), encoding="utf-8")
        return run(workshop, path, jar)

    return program


@pytest.fixture
def server(workshop, tmp_path) -> Iterator[str]:
    """The URL of the service, started on an empty SQLite file at the address of the run."""
    port = workshop.url.split(":")[2].removesuffix("/api")
    command = [str(Path(sys.executable).with_name("api")), "serve", "--port", port]
    ready = f"{workshop.url}/health/ready"
    with _process(command, cwd=tmp_path, log=tmp_path / "log", url=ready, DATABASE_URL="sqlite:///sdk.db"):
        yield workshop.url


@pytest.fixture(scope="session")
def mock(debian, guide, tmp_path_factory) -> Iterator[str]:
    """The URL of the mock server, which sends the response that the `Prefer` header selects."""
    debian("npm")
    (command,) = guide("Mock server").make
    port = _free_port()
    folder = tmp_path_factory.mktemp("mock")
    with _process(
        [*command.split(), "--port", str(port)],
        cwd=ROOT,
        log=folder / "log",
        url=f"http://127.0.0.1:{port}/health/live",
    ):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _process(command: list[str], *, cwd: Path, log: Path, url: str, **environment: str) -> Iterator[None]:
    """Run the command, wait until the URL answers, and stop the command at the end of the block."""
    with log.open("w+") as said:
        process = subprocess.Popen(
            command, cwd=cwd, env=_environment(**environment), stdout=said, stderr=said, start_new_session=True
        )
        try:
            _wait(process, url, said)
            yield
        finally:
            # The whole group, because npx and workers are separate processes.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)


def _wait(process: subprocess.Popen, url: str, log) -> None:
    deadline = time.monotonic() + 300  # npx may have to install the command first
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with closing(urllib.request.urlopen(url, timeout=5)):
                return
        except OSError:
            time.sleep(0.1)
    log.seek(0)
    pytest.fail(f"no answer from {url}\n{log.read()}")


def _environment(**more: str) -> dict[str, str]:
    """The environment with this Python's commands first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **more}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
