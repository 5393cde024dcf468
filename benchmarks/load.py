"""The load generator: wrk from Debian, one thread, keep-alive connections, bodies and ids from operations.lua."""

import json
import os
import shutil
import subprocess
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
    # wrk accepts only whole seconds; timeout(1) ends it with SIGINT, after which it reports as usual.
    command = [
        *("timeout", "--foreground", "--signal=INT", f"{seconds:.2f}"),
        *("wrk", "-t1", f"-c{connections}", "-d600s", "--timeout", "20s", "-s", str(_SCRIPT)),
        *(f"http://127.0.0.1:{port}", "--", operation.name, f"{os.getpid():x}-{next(_runs):x}", deep, str(users)),
    ]
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        seen = json.loads(output.stdout.strip().rpartition("\n")[2])
    except ValueError:
        raise SystemExit(f"wrk: {output.stdout}{output.stderr}") from None
    unexpected = abs(seen["refused"] - (seen["requests"] if operation.refused else 0))
    return Load(seen["requests"], seen["seconds"], seen["p50"], seen["p99"], unexpected + seen["broken"])
