"""Changes the contract, one change at a time, and counts the changes that the test suite detects (`tox -e mutants`).

Each mutant is tested in a copy of the project, in a process forked from one that has imported everything. The quick
tests run first; if they pass, the other tests run, with the ledger. A survivor must be explained in `EXPLAINED`. The
compatibility check is not used: it would detect most changes by comparing documents.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tools.mutations import Document, mutants, operations_at  # noqa: E402  # needs the path set above

CONTRACT = Path("openapi/openapi.yaml")
REPORT = ROOT / "reports" / "mutants.md"
COPIED = ("api", "openapi", "tests", "tools", "docs", "conftest.py", "pyproject.toml", "README.md", "CHANGELOG.md")

# Only tests that read the contract can detect a change. These run first, since they are quick;
FIRST = ("tests/test_contract.py", "tests/test_agreement.py", "tests/test_layout.py")
# then the tests of the operations that the change affects, but of at most this number; then all others.
OPERATIONS = 3
ALL = (
    "tests/operations",
    "tests/test_examples.py",
    "tests/test_every_operation.py",
    "tests/test_paging.py",
    "tests/test_faults.py",
    "tests/fuzz",
    "--deselect=tests/fuzz/test_fuzz.py::test_two_runs_send_the_same",  # it checks the tests, not the contract
)

TIMEOUT_SECONDS = 900
TARGET = 0.95

# Changes that no test can detect, each with the reason.
EXPLAINED: dict[str, str] = {}

_fork = get_context("fork")


class Verdict(NamedTuple):
    """The result for a mutant: the name of what detected it, or None."""

    mutant: str
    killer: str | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="test only every n-th mutant")
    parser.add_argument("--only", default="", help="test only mutants whose name contains this text")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    original = yaml.safe_load((ROOT / CONTRACT).read_text())
    waiting = [mutant for mutant in mutants(original) if chosen.only in mutant.name][:: chosen.every]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        pool = ProcessPoolExecutor(chosen.workers, mp_context=_fork, initializer=_prepare, initargs=(folder,))
        with pool:
            control = pool.submit(_judge, "no change", [], original)
            changed = [
                pool.submit(_judge, mutant.name, operations_at(original, mutant.place), mutant.applied(original))
                for mutant in waiting
            ]
            if control.result().killer is not None:
                pool.shutdown(cancel_futures=True)
                print(f"The unchanged contract does not pass: {control.result().killer}")
                return 2
            verdicts = [_printed(future.result()) for future in changed]
    return _report(verdicts, time.monotonic() - started)


def _printed(verdict: Verdict) -> Verdict:
    print("." if verdict.killer else f"\nsurvived: {verdict.mutant}\n", end="", flush=True)
    return verdict


# These functions run in a worker process.


def _prepare(folder: str) -> None:
    """Make a copy of the project to work in, and import all modules that the tests need and no mutant changes."""
    copy = Path(folder) / str(os.getpid())
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
        else:
            shutil.copy(source, copy)
    os.chdir(copy)
    sys.path[:] = [str(copy), *(entry for entry in sys.path if Path(entry) != ROOT)]
    for name in [name for name in sys.modules if name.partition(".")[0] in {"tools", "tests"}]:
        del sys.modules[name]
    os.environ.update(TEST_DATABASE="sqlite", PYTHONPATH=str(copy))
    sys.dont_write_bytecode = False  # so that the tests are compiled only once
    yaml.safe_load = partial(yaml.load, Loader=yaml.CSafeLoader)  # otherwise it takes a third of the time
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as `pyproject.toml` does for the tests
        for module in ("api.app", "api.migrations", "apispec.ext.marshmallow", "schemathesis", "starlette.testclient"):
            import_module(module)


def _judge(name: str, operations: list[str], document: Document) -> Verdict:
    CONTRACT.write_text(yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False))
    near = [f"tests/operations/test_{operation}.py" for operation in operations[:OPERATIONS]]
    return Verdict(name, _killer(*FIRST, *near) or _killer("--ledger=whole", *FIRST, *ALL))


def _killer(*arguments: str) -> str | None:
    """The first test that fails, or else another reason why the run failed; None if it passed."""
    receiver, sender = _fork.Pipe(duplex=False)
    tests = _fork.Process(target=_test, args=(sender, arguments))
    tests.start()
    sender.close()
    try:
        if not receiver.poll(TIMEOUT_SECONDS):
            tests.kill()
            return "the time limit"
        return receiver.recv()
    except EOFError:
        return "the end of the process"
    finally:
        tests.join()


# These run in a process forked from a worker.


def _test(report: Connection, arguments: tuple[str, ...]) -> None:
    with Path("log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    first = _FirstFailure()
    # Rewritten assertions would cost time, and their messages are not used.
    options = ["-x", "--tb=short", "--assert=plain", "--basetemp=temporary", "-p", "no:cacheprovider"]
    status = pytest.main([*options, *arguments], plugins=[first])
    report.send(None if status == 0 else first.name or "the ledger")
    report.close()
    os._exit(0)  # a normal exit could wait for threads of the application


class _FirstFailure:
    """A pytest plugin that records the first test, or file of tests, that failed."""

    name: str | None = None

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and self.name is None:
            self.name = report.nodeid

    pytest_collectreport = pytest_runtest_logreport


# These write the report.


def _report(verdicts: list[Verdict], seconds: float) -> int:
    survivors = [verdict.mutant for verdict in verdicts if verdict.killer is None]
    score = 1 - len(survivors) / len(verdicts)
    lines = list(_lines(verdicts, survivors, score, seconds))
    print("", *lines, sep="\n")
    table = [f"| {verdict.mutant} | {verdict.killer or 'nothing'} |" for verdict in verdicts]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join([*lines, "", "| Change | Detected by |", "| --- | --- |", *table, ""]))
    return int(score < TARGET or any(name not in EXPLAINED for name in survivors))


def _lines(verdicts: list[Verdict], survivors: list[str], score: float, seconds: float) -> Iterator[str]:
    noticed = len(verdicts) - len(survivors)
    yield f"{len(verdicts)} mutants, {noticed} detected: {score:.1%} in {seconds / 60:.1f} minutes."
    yield from (f"- survived: {name} ({EXPLAINED.get(name, 'UNEXPLAINED')})" for name in survivors)
    yield from (
        f"- explained, but detected: {verdict.mutant}"
        for verdict in verdicts
        if verdict.killer is not None and verdict.mutant in EXPLAINED
    )


if __name__ == "__main__":
    sys.exit(main())
