"""Changes the contract, one change at a time, and counts how many the test suite notices (`tox -e mutants`).

Each mutant is tested in a copy of the project. The quick tests come first; what they let live meets the rest, with
the ledger. A survivor must be explained in `EXPLAINED`. The compatibility gate does not take part: it would notice
most changes by comparing texts.
"""

import argparse
import copy
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parent.parent
CONTRACT = Path("openapi/openapi.yaml")
NEEDED = ("api", "openapi", "tests", "tools", "docs", "pyproject.toml", "README.md", "tox.ini", ".github")

# Only what reads the contract can notice a change of it.
QUICK = ("tests/test_agreement.py", "tests/operations", "tests/test_every_operation.py", "tests/test_paging.py")
REST = (
    *QUICK,
    "tests/test_examples.py",
    "tests/test_factory.py",
    "tests/test_faults.py",
    "tests/test_integration.py",
    "tests/fuzz",
)

METHODS = ("get", "put", "post", "delete")
LIMITS = ("minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "minProperties", "maxProperties")
TIMEOUT_SECONDS = 240
TARGET = 0.95

# Changes that no test can notice, each with the reason.
EXPLAINED: dict[str, str] = {}

Document = dict[str, Any]


class Mutant(NamedTuple):
    """One change of the contract: what it is called, and the function that makes it."""

    name: str
    apply: Callable[[Document], None]


class Verdict(NamedTuple):
    """What became of a mutant: the test that noticed it, or none."""

    mutant: str
    killer: str | None


def mutants(document: Document) -> list[Mutant]:
    """All changes, the same ones in the same order for the same contract."""
    return [
        Mutant(f"{'/'.join(map(str, path))}: {what}", _edit(path, change)) for path, what, change in _changes(document)
    ]


Path_ = tuple[Any, ...]
Change = tuple[Path_, str, Callable[[Any], None]]


def _edit(path: Path_, change: Callable[[Any], None]) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        node: Any = document
        for key in path:
            node = node[key]
        change(node)

    return apply


def _changes(document: Document) -> Iterator[Change]:
    yield ("servers", 0), "another path", lambda server: server.update(url="http://127.0.0.1:8000/v2")
    for path, item in document["paths"].items():
        yield ("paths",), f"{path} renamed", _rename(path, f"{path}s")
        for method in METHODS:
            if method in item:
                yield ("paths", path), f"{method} dropped", _drop(method)
                yield from _operation(("paths", path, method), item[method])
        yield from _parameters(("paths", path), item)
    components = document["components"]
    for name, schema in components["schemas"].items():
        yield from _schema(("components", "schemas", name), schema)
    for name, parameter in components["parameters"].items():
        yield from _parameter(("components", "parameters", name), parameter)
    for name, header in components["headers"].items():
        yield from _header(("components", "headers", name), header)
    for name, link in components.get("links", {}).items():
        yield from _link(("components", "links", name), link)
    for name, response in components["responses"].items():
        yield from _response(("components", "responses", name), response)


def _operation(path: Path_, operation: Document) -> Iterator[Change]:
    yield path, "operationId renamed", lambda node: node.update(operationId=node["operationId"] + "_")
    yield from _parameters(path, operation)
    body = operation.get("requestBody")
    if body is not None:
        yield path, "body dropped", _drop("requestBody")
        yield (*path, "requestBody"), "body optional", lambda node: node.update(required=False)
        for media_type, content in body["content"].items():
            yield (
                (*path, "requestBody", "content"),
                f"{media_type} renamed",
                _rename(media_type, "application/xml+json"),
            )
            yield from _schema((*path, "requestBody", "content", media_type, "schema"), content["schema"])
    for status, response in operation["responses"].items():
        yield (*path, "responses"), f"{status} dropped", _drop(status)
        yield (*path, "responses"), f"{status} renamed", _rename(status, "299" if status < "300" else "499")
        if "$ref" not in response:
            yield from _response((*path, "responses", status), response)


def _parameters(path: Path_, node: Document) -> Iterator[Change]:
    for number, parameter in enumerate(node.get("parameters", ())):
        yield (*path, "parameters"), f"parameter {number} dropped", lambda found, number=number: found.pop(number)
        if "$ref" not in parameter:
            yield from _parameter((*path, "parameters", number), parameter)


def _parameter(path: Path_, parameter: Document) -> Iterator[Change]:
    yield path, "renamed", lambda node: node.update(name=node["name"] + "_")
    if parameter["in"] == "query":
        yield path, "in header", lambda node: node.update({"in": "header"})
        yield path, "required", lambda node: node.update(required=True)
    yield from _schema((*path, "schema"), parameter["schema"])


def _response(path: Path_, response: Document) -> Iterator[Change]:
    for media_type, content in response.get("content", {}).items():
        yield (*path, "content"), f"{media_type} renamed", _rename(media_type, "text/json")
        yield (*path, "content"), f"{media_type} dropped", _drop(media_type)
        yield from _schema((*path, "content", media_type, "schema"), content["schema"])
    for name, header in response.get("headers", {}).items():
        yield (*path, "headers"), f"{name} dropped", _drop(name)
        if "$ref" not in header:
            yield from _header((*path, "headers", name), header)
    for name, link in response.get("links", {}).items():
        yield (*path, "links"), f"{name} dropped", _drop(name)
        if "$ref" not in link:
            yield from _link((*path, "links", name), link)


def _header(path: Path_, header: Document) -> Iterator[Change]:
    yield path, "required turned", lambda node: node.update(required=not node.get("required", False))
    yield from _schema((*path, "schema"), header["schema"])


def _link(path: Path_, link: Document) -> Iterator[Change]:
    other = "list_users" if link["operationId"] != "list_users" else "list_posts"
    yield path, "leads elsewhere", lambda node: node.update(operationId=other)
    for name in link.get("parameters", {}):
        yield (
            (*path, "parameters"),
            f"{name} from elsewhere",
            lambda node, name=name: node.update({name: "$response.body#/nothing"}),
        )


def _schema(path: Path_, schema: Document) -> Iterator[Change]:
    if "$ref" in schema:
        return
    for limit in LIMITS:
        if limit in schema:
            for step in (-1, 1):
                yield (
                    path,
                    f"{limit} {step:+}",
                    lambda node, limit=limit, step=step: node.update({limit: node[limit] + step}),
                )
            yield path, f"{limit} dropped", _drop(limit)
    for keyword in ("pattern", "format", "not", "default", "additionalProperties", "enum"):
        if keyword in schema:
            yield path, f"{keyword} dropped", _drop(keyword)
    if "default" in schema:
        yield path, "another default", lambda node: node.update(default=node["default"] - 1)
    if "pattern" in schema:
        yield path, "a pattern that nothing matches", lambda node: node.update(pattern="^nothing but this$")
    for number, value in enumerate(schema.get("enum", ())):
        yield (*path, "enum"), f"{value} dropped", lambda node, number=number: node.pop(number)
    if "enum" in schema:
        yield (*path, "enum"), "a value added", lambda node: node.append("added")
    if schema.get("type") in {"string", "integer", "array", "object"}:
        other = "string" if schema["type"] != "string" else "integer"
        yield path, f"type {other}", lambda node: node.update(type=other)
        yield path, "nullable", lambda node: node.update(nullable=True)
    for name in schema.get("required", ()):
        yield (*path, "required"), f"{name} optional", lambda node, name=name: node.remove(name)
    for name, member in schema.get("properties", {}).items():
        yield (*path, "properties"), f"{name} dropped", _drop(name)
        if name not in schema.get("required", ()):
            yield path, f"{name} required", lambda node, name=name: node.setdefault("required", []).append(name)
        yield from _schema((*path, "properties", name), member)
    if "items" in schema:
        yield from _schema((*path, "items"), schema["items"])


def _drop(key: str) -> Callable[[Any], None]:
    return lambda node: node.pop(key)


def _rename(old: str, new: str) -> Callable[[Any], None]:
    # In its place: order is not what is changed here.
    def rename(node: dict[str, Any]) -> None:
        items = [(new if key == old else key, value) for key, value in node.items()]
        node.clear()
        node.update(items)

    return rename


class Project:
    """A copy of the project in which one mutant at a time is tested."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in NEEDED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
            elif source.exists():
                shutil.copy(source, folder / name)

    def judge(self, mutant: Mutant, original: Document) -> Verdict:
        document = copy.deepcopy(original)
        mutant.apply(document)
        (self.folder / CONTRACT).write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        for tests in (QUICK, REST):
            killer = self._killer(tests)
            if killer is not None:
                return Verdict(mutant.name, killer)
        return Verdict(mutant.name, None)

    def _killer(self, tests: tuple[str, ...]) -> str | None:
        present = [name for name in tests if (self.folder / name).exists()]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "--no-header",
            "--tb=no",
            "-p",
            "no:cacheprovider",
            *present,
        ]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(self.folder)}
        try:
            run = subprocess.run(
                command,
                cwd=self.folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "the time limit"
        if run.returncode == 0:
            return None
        lines = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return lines[0].split(" - ")[0] if lines else f"exit status {run.returncode}"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--every", type=int, default=1, help="test one mutant of so many")
    arguments.add_argument("--only", default="", help="test the mutants whose name holds this")
    arguments.add_argument("--workers", type=int, default=2)
    chosen = arguments.parse_args()
    original = yaml.safe_load((ROOT / CONTRACT).read_text())
    waiting = [mutant for mutant in mutants(original) if chosen.only in mutant.name][:: chosen.every]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        projects: SimpleQueue[Project] = SimpleQueue()
        for number in range(chosen.workers):
            projects.put(Project(Path(folder) / str(number)))
        untouched = projects.get()
        control = untouched.judge(Mutant("the contract as it is", lambda _: None), original)
        projects.put(untouched)
        if control.killer is not None:
            print(f"The unchanged contract does not pass: {control.killer}")
            return 2

        def judge(mutant: Mutant) -> Verdict:
            project = projects.get()
            try:
                verdict = project.judge(mutant, original)
            finally:
                projects.put(project)
            print("." if verdict.killer else "S", end="", flush=True)
            return verdict

        with ThreadPoolExecutor(chosen.workers) as pool:
            verdicts = list(pool.map(judge, waiting))
    return _report(verdicts, time.monotonic() - started)


def _report(verdicts: list[Verdict], seconds: float) -> int:
    survivors = [verdict.mutant for verdict in verdicts if verdict.killer is None]
    score = 1 - len(survivors) / len(verdicts)
    lines = [
        f"{len(verdicts)} mutants, {len(verdicts) - len(survivors)} noticed: {score:.1%} in {seconds / 60:.1f} minutes."
    ]
    lines += [f"survived: {name} ({EXPLAINED.get(name, 'unexplained')})" for name in survivors]
    print("", *lines, sep="\n")
    reports = ROOT / "reports"
    reports.mkdir(exist_ok=True)
    table = [f"| {verdict.mutant} | {verdict.killer or 'survived'} |" for verdict in verdicts]
    (reports / "mutants.md").write_text("\n".join([*lines, "", "| Change | Noticed by |", "| --- | --- |", *table, ""]))
    return int(score < TARGET or any(name not in EXPLAINED for name in survivors))


if __name__ == "__main__":
    sys.exit(main())
