"""The programs of the section "Change what you have read" of docs/clients.md: a change with a stale tag is refused."""

import os
import re
import shutil
import sys
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parent.parent.parent
DEFAULT_URL = "http://127.0.0.1:8000/api"
JAKARTA_ANNOTATIONS = "/usr/share/java/jakarta-annotation-api.jar"

SECTION = (
    (ROOT / "docs" / "clients.md").read_text().split("\n## Change what you have read\n", 1)[1].split("\n## ", 1)[0]
)
PROGRAMS = dict(re.findall(r"^Save this as `clients/(\S+)`:\n\n```\w+\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE))
(SHOWN,) = re.findall(r"```text\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
def saved(make, workshop, server):
    """Makes the client of a language and saves its program; returns the program's path. The service is running."""

    def save(language: str, name: str) -> Path:
        make(language)
        path = workshop.folder / "clients" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PROGRAMS[name].replace(DEFAULT_URL, workshop.url), encoding="utf-8")
        return path

    return save


def test_every_language_has_its_program():
    assert list(PROGRAMS) == ["edit.py", "typescript/edit.ts", "java/Edit.java", "go/edit/main.go"]


def has_kept_both_changes(said, server):
    """The program said what the page shows; the stale change was not carried out, and no other change was lost."""
    assert said == SHOWN
    assert httpx.get(f"{server}/users").json() == [{"id": 1, "username": "lovelace", "email": "ada@example.org"}]
    return True


def test_python(saved, server, workshop):
    program = saved("Python", "edit.py")

    said = workshop.run(sys.executable, str(program), PYTHONPATH=str(program.parent / "python"))

    assert has_kept_both_changes(said, server)


def test_typescript(debian, saved, server, workshop):
    debian("npm")
    program = saved("TypeScript", "typescript/edit.ts")
    strict = ["--strict", "--noUncheckedIndexedAccess", "--target", "es2022", "--module", "nodenext", "--types", "node"]
    workshop.run("npx", "tsc", *strict, "--outDir", "edit", "edit.ts", cwd=program.parent)

    said = workshop.run("node", "edit/edit.js", cwd=program.parent)

    assert has_kept_both_changes(said, server)


def test_java(debian, saved, server, workshop, jar):
    debian("java")
    debian("javac")
    program = saved("Java", "java/Edit.java")
    out = program.parent / "edit"
    libraries = os.pathsep.join([str(jar), JAKARTA_ANNOTATIONS])
    sources = [program, *(program.parent / "src" / "main").rglob("*.java")]
    workshop.run("javac", "-encoding", "UTF-8", "-d", str(out), "-cp", libraries, *map(str, sources))

    said = workshop.run("java", "-Dfile.encoding=UTF-8", "-cp", os.pathsep.join([str(out), libraries]), "Edit")

    assert has_kept_both_changes(said, server)


def test_go(debian, saved, server, workshop):
    debian("go")
    program = saved("Go", "go/edit/main.go")
    cache = f"{workshop.folder}/go-edit"

    said = workshop.run(
        "go", "run", "./edit", cwd=program.parent.parent, GOPATH=cache, GOCACHE=f"{cache}/build", GOPROXY="off"
    )
    shutil.rmtree(program.parent)

    assert has_kept_both_changes(said, server)
