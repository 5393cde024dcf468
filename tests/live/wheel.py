"""Checks both wheels, in the folder given: their contents, and that they work outside the checkout.

`tox -e wheel` runs it in an environment with requirements/run.txt and nothing of this project: the service is
installed there. The library gets an environment of its own, with what pip finds that its wheel asks for, in the pinned
versions; a folder that has a package `api` of its own uses it there, under `mypy --strict` too.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
import zipfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "contractapp" / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

SIZE = """
from importlib import metadata
found = [one for one in metadata.distributions() if one.name not in {"pip", "setuptools"}]
paths = [file.locate() for one in found for file in one.files or () if file.suffix != ".pyc"]
print(len(found), round(sum(path.stat().st_size for path in paths if path.is_file()) / 1e6))
"""

NAMES = """
import contractapp, contractapp.compat, contractapp.server
for module in (contractapp, contractapp.compat, contractapp.server):
    for name in module.__all__:
        print(f"from {module.__name__} import {name}\\nreveal_type({name})")
"""

# mypy must refuse an argument of the wrong type and a name that does not exist.
WRONG = 'from contractapp import Nothing, Workers\n\nWorkers(read_threads="4")\n'


def main(folder: Path) -> None:
    wheels = {path.name.partition("-")[0]: path for path in folder.glob("*.whl")}
    assert set(wheels) == {"contractapp", "users_posts_api"}, wheels
    library, service = wheels["contractapp"], wheels["users_posts_api"]
    library_is_whole(library)
    service_is_whole(service)
    with tempfile.TemporaryDirectory() as outside:
        library_serves_strangers(library, Path(outside).resolve())
    with tempfile.TemporaryDirectory() as outside:
        service_serves(library, service, Path(outside).resolve())
    print("Both wheels hold what they should, and serve.")


def library_is_whole(wheel: Path) -> None:
    files = contents(wheel)
    page = (ROOT / "contractapp/src/contractapp/asgi/swagger_ui").iterdir()
    paths = [*sources("contractapp/src"), *page, ROOT / "contractapp/src/contractapp/py.typed"]
    expected = {path.relative_to(ROOT / "contractapp/src").as_posix() for path in paths}
    assert {name for name in files if ".dist-info/" not in name} == expected, files.keys()
    assert files[f"{dist_info(wheel)}/licenses/LICENSE"] == (ROOT / "contractapp/LICENSE").read_bytes()
    assert README in files[f"{dist_info(wheel)}/METADATA"].decode()


def service_is_whole(wheel: Path) -> None:
    files = contents(wheel)
    modules = {path.relative_to(ROOT).as_posix() for path in sources("api")}
    assert {name for name in files if ".dist-info/" not in name} == {*modules, "api/openapi/openapi.yaml"}, files.keys()
    assert files["api/openapi/openapi.yaml"] == (ROOT / "openapi/openapi.yaml").read_bytes()
    assert files[f"{dist_info(wheel)}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert "\nRequires-Dist: contractapp" in files[f"{dist_info(wheel)}/METADATA"].decode()


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


# The files of the README's blocks in Python and YAML, in the order of the page.
NAMES_OF_BLOCKS = (
    "hello.py",
    "hello.yaml",
    "preconditions.py",
    "orders.py",
    "problems.py",
    "inlined.py",
    "serving.py",
    "public.py",
)


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def dist_info(wheel: Path) -> str:
    return "-".join(wheel.name.split("-")[:2]) + ".dist-info"


def library_serves_strangers(wheel: Path, outside: Path) -> None:
    """Run the README's example in the folder of another project, with each of the extras in turn."""
    project = outside / "project"
    write_project(project)
    python = environment(outside / "library")
    install(python, wheel, "", "run.txt")
    shown = run(python, "-W", "ignore", "hello.py", cwd=project)
    assert shown == next(text for language, text in BLOCKS if not language), shown
    tell(python, "contractapp")

    install(python, wheel, "[server]", "run.txt")
    with serving([python, "-W", "ignore", "-m", "contractapp.server", "hello:app", "--port", "0"], project) as base:
        assert get(f"{base}/greetings/World?times=2") == {"greeting": "Hello World, Hello World"}
    tell(python, "contractapp[server]")
    names_are_typed(python, environment(outside / "mypy"), project)

    install(python, wheel, "[test]", "test.txt")
    notes = outside / "notes"
    for name in ("notes.py", "openapi.yaml", "pyproject.toml", "test_notes.py"):
        copy(ROOT / "contractapp/examples/notes" / name, notes / name)
    assert "the ledger: " in run(python, "-m", "pytest", "-W", "ignore", cwd=notes)
    tell(python, "contractapp[server,test]")


def write_project(folder: Path) -> None:
    files = [text for language, text in BLOCKS if language in {"python", "yaml"}]
    write(folder / "api" / "__init__.py", '"""A package of another project."""\n\nOWNER = "somebody else"\n')
    write(folder / "use.py", "import hello\nfrom api import OWNER\n\nprint(OWNER, hello.greet(OWNER))\n")
    for name, text in zip(NAMES_OF_BLOCKS, files, strict=True):
        write(folder / name, text)


def names_are_typed(python: str, checker: str, project: Path) -> None:
    """Check that `mypy --strict` accepts the project, knows all types, and finds the faults in `WRONG`."""
    install_pinned(checker, pins("lint.txt")["mypy"][0], "lint.txt")
    assert run(python, "-W", "ignore", "use.py", cwd=project) == "somebody else {'greeting': 'Hello somebody else'}\n"
    mypy = [
        checker,
        "-m",
        "mypy",
        "--strict",
        "--python-executable",
        python,
        "--cache-dir",
        str(project.parent / "cache"),
    ]
    checked = run(*mypy, ".", cwd=project)
    assert checked == "Success: no issues found in 9 source files\n", checked
    write(project / "names.py", run(python, "-W", "ignore", "-c", NAMES, cwd=project))
    revealed = re.findall(
        r"^names\.py:\d+: note: Revealed type is \"(.*)\"$", run(*mypy, "names.py", cwd=project), re.MULTILINE
    )
    asked = re.findall(r"^reveal_type\((\w+)\)$", (project / "names.py").read_text(), re.MULTILINE)
    assert len(revealed) == len(asked) > 20, (asked, revealed)
    assert [name for name, found in zip(asked, revealed, strict=True) if found == "Any"] == []
    write(project / "wrong.py", WRONG)
    refused = subprocess.run([*mypy, "wrong.py"], cwd=project, capture_output=True, text=True, check=False).stdout
    assert re.findall(r"\[([\w-]+)\]$", refused, re.MULTILINE) == ["attr-defined", "arg-type"], refused


def service_serves(library: Path, service: Path, outside: Path) -> None:
    """Check that the service, installed in this environment, answers with its own contract and stops."""
    pip(sys.executable, "install", "--no-deps", "--force-reinstall", str(library), str(service))
    pip(sys.executable, "check")
    tell(sys.executable, "users-posts-api")
    settings = {**os.environ, "DATABASE_URL": f"sqlite:///{outside}/api.db"}
    api = str(Path(sys.executable).with_name("api"))
    with serving([api, "serve", "--port", "0"], outside, settings) as base:
        assert get(f"{base}/api/openapi.json")["openapi"].startswith("3.")
        assert get(f"{base}/api/health/ready") == {"status": "ok"}
        subprocess.run([api, "check"], cwd=outside, env=settings, check=True)


@contextmanager
def serving(command: list[str], folder: Path, settings: dict[str, str] | None = None):
    """The base URL of a server, which prints it when it has a port, and must exit with status 0."""
    server = subprocess.Popen(command, cwd=folder, env=settings, stdout=subprocess.PIPE, text=True)
    try:
        found = (re.search(r"http://[^/\s]+:\d+", line) for line in server.stdout)
        yield next(filter(None, found))[0]
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(30)
    assert status == 0, status


def get(url: str) -> object:
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return json.load(response)
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"no answer from {url}")


def environment(folder: Path) -> str:
    """Make an empty environment; the path of its Python."""
    venv.create(folder, with_pip=True)
    return str(folder / "bin" / "python")


def install(python: str, wheel: Path, extras: str, pinned: str) -> None:
    """Install the requirements that pip finds for the wheel, then the wheel."""
    install_pinned(python, f"contractapp{extras} @ {wheel.resolve().as_uri()}", pinned)
    pip(python, "install", "--no-deps", "--force-reinstall", str(wheel))
    pip(python, "check")


def install_pinned(python: str, requirement: str, pinned: str) -> None:
    """Install a requirement and its dependencies, with the versions and hashes in a file of requirements/."""
    known = pins(pinned)
    constraints = write(Path(python).parent / "constraints.txt", "\n".join(line for line, _ in known.values()))
    report = pip(
        python, "install", "--dry-run", "--ignore-installed", "--report", "-", "-c", str(constraints), requirement
    )
    names = [normal(item["metadata"]["name"]) for item in json.loads(report)["install"]]
    lines = "\n".join(known[name][1] for name in names if name != "contractapp")
    pip(
        python, "install", "--no-deps", "--require-hashes", "-r", str(write(constraints.with_name("needed.txt"), lines))
    )


def pins(name: str) -> dict[str, tuple[str, str]]:
    """The packages in a file of requirements/ by name: the version as a constraint, and the lines with hashes."""
    blocks = re.findall(
        r"^([\w.-]+)(?:\[.*?\])?(==\S+)(.*(?:\n +.*)*)", (ROOT / "requirements" / name).read_text(), re.MULTILINE
    )
    return {normal(package): (package + version, package + version + rest) for package, version, rest in blocks}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def tell(python: str, name: str) -> None:
    packages, megabytes = run(python, "-c", SIZE, cwd=Path(python).parent).split()
    print(f"{name}: {packages} packages, {megabytes} MB")


def pip(python: str, *arguments: str) -> str:
    return run(python, "-I", "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, cwd=Path(python).parent)


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def copy(source: Path, target: Path) -> None:
    write(target, source.read_text())


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


if __name__ == "__main__":
    main(Path(sys.argv[1]))
