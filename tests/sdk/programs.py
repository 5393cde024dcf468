"""Compiles and runs a program of docs/clients.md that stands beside the client of its language."""

import os
import shutil
import sys
from pathlib import Path

from tests.sdk.conftest import JAKARTA_ANNOTATIONS


def run_python(workshop, program: Path, _jar: Path) -> str:
    return workshop.run(sys.executable, str(program), PYTHONPATH=str(program.parent / "python"))


def run_typescript(workshop, program: Path, _jar: Path) -> str:
    strict = ["--strict", "--noUncheckedIndexedAccess", "--target", "es2022", "--module", "nodenext", "--types", "node"]
    workshop.run("npx", "tsc", *strict, "--outDir", program.stem, program.name, cwd=program.parent)
    return workshop.run("node", f"{program.stem}/{program.stem}.js", cwd=program.parent)


def run_java(workshop, program: Path, jar: Path) -> str:
    out = program.parent / program.stem.lower()
    libraries = os.pathsep.join([str(jar), str(JAKARTA_ANNOTATIONS)])
    sources = [program, *(program.parent / "src" / "main").rglob("*.java")]
    workshop.run("javac", "-encoding", "UTF-8", "-d", str(out), "-cp", libraries, *map(str, sources))
    return workshop.run("java", "-Dfile.encoding=UTF-8", "-cp", os.pathsep.join([str(out), libraries]), program.stem)


def run_go(workshop, program: Path, _jar: Path) -> str:
    cache = f"{workshop.folder}/go-{program.parent.name}"
    said = workshop.run(
        *("go", "run", f"./{program.parent.name}"),
        cwd=program.parent.parent,
        GOPATH=cache,
        GOCACHE=f"{cache}/build",
        GOPROXY="off",
    )
    shutil.rmtree(program.parent)
    return said


# For each language: the commands that it needs, the ending of its programs, and how one is run.
LANGUAGES = {
    "Python": ((), ".py", run_python),
    "TypeScript": (("npm",), ".ts", run_typescript),
    "Java": (("java", "javac"), ".java", run_java),
    "Go": (("go",), ".go", run_go),
}
