"""The load generator: wrk from Debian, one thread, keep-alive connections, bodies and ids from operations.lua."""

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.databases import USERS

_SCRIPT = Path(__file__).with_name("operations.lua")
_runs = count()


@dataclass(frozen=True)
class Operation:
    """One kind of request. `refused` tells that a 4xx is the right response."""

    name: str
    title: str
    refused: bool = False


OPERATIONS = (
    Operation("liveness", "liveness"),
    Operation("get", "get a user"),
    Operation("users", "100 users"),
    Operation("posts", "20 posts"),
    Operation("deep", "20 posts, deep"),
    Operation("create", "create a user"),
    Operation("update", "update a user"),
    Operation("invalid", "invalid body", refused=True),
    Operation("unknown", "unknown id", refused=True),
)


@dataclass(frozen=True)
class Load:
    """The results of wrk; times in microseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    failed: int


def ensure_wrk() -> None:
    """Install wrk with apt-get. If that is not possible, end with a sentence that says what to do."""
    if shutil.which("wrk"):
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "wrk"], check=True)
        return
    raise SystemExit("The benchmark needs wrk: sudo apt-get install wrk")


def run(operation: Operation, port: int, deep: str, *, connections: int, seconds: float, users: int = USERS) -> Load:
    """Send requests for one operation. The names of new users are unique to each run; ids spread over all users."""
    command = [
        *("wrk", "-t1", f"-c{connections}", "-d600s", "--timeout", "20s", "-s", str(_SCRIPT)),
        *(f"http://127.0.0.1:{port}", "--", operation.name, f"{os.getpid():x}-{next(_runs):x}", deep, str(users)),
    ]
    output, errors = _interrupted(command, seconds)
    try:
        seen = json.loads(output.strip().rpartition("\n")[2])
    except ValueError:
        raise SystemExit(f"wrk: {output}{errors}") from None
    unexpected = abs(seen["refused"] - (seen["requests"] if operation.refused else 0))
    return Load(seen["requests"], seen["seconds"], seen["p50"], seen["p99"], unexpected + seen["broken"])


def _interrupted(command: list[str], seconds: float) -> tuple[str, str]:
    """What wrk reports when it is interrupted: it accepts only whole seconds.

    On a busy machine wrk may begin after the first signal. Until then, the signal ends it or, if this process was
    started in the background of a shell, is ignored.
    """
    while True:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as wrk:
            time.sleep(seconds)
            output, errors = _stop(wrk)
        if wrk.returncode != -signal.SIGINT:
            return output, errors


def _stop(wrk: "subprocess.Popen[str]") -> tuple[str, str]:
    while True:
        wrk.send_signal(signal.SIGINT)
        try:
            return wrk.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            continue
