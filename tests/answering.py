"""Answers requests, each in a process of its own, which can be killed: `python -m tests.answering DATABASE_URL`.

A started server takes a second or more to replace a process that was killed; here, the next process is forked at once
from one that has loaded the application.

Reads requests from standard input, a line of JSON for each. Writes a line for each with its time and its `answer`,
which is null if the process was killed: after `kill_after` seconds, or, with `at_answer`, when it begins to answer.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api import create_app
from contractapp.testing.exchange import exchange
from tests.applications import PATIENT


@contextmanager
def answering(database_url: str) -> Iterator[Callable[..., dict[str, Any]]]:
    """A function that sends a request to create something with an `Idempotency-Key`, and returns the line for it."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.answering", database_url]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def send(url: str, body: object, key: str, **kill: object) -> dict[str, Any]:
            print(json.dumps({"url": url, "body": body, "key": key, **kill}), file=process.stdin, flush=True)
            line: dict[str, Any] = json.loads(process.stdout.readline())
            return line

        yield send
        process.stdin.close()


def main() -> None:
    app = create_app({"TESTING": True, **PATIENT, "SQLALCHEMY_DATABASE_URI": sys.argv[1]})
    asyncio.run(exchange(app, "GET", "/api/health/live"))  # builds what the processes share; opens no connection
    for line in sys.stdin:
        request = json.loads(line)
        read, write = os.pipe()
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(write, answer(app, request))
            finally:
                os._exit(0)
        os.close(write)
        if request.get("kill_after") is not None:
            time.sleep(request["kill_after"])
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with os.fdopen(read, "rb") as pipe:
            found = json.loads(pipe.read() or b"null")
        print(json.dumps({"answer": found, "seconds": time.monotonic() - start}), flush=True)


def answer(app: Any, request: dict[str, Any]) -> bytes:
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", request["key"])]

    async def served(scope: Any, receive: Any, send: Any) -> None:
        async def send_or_die(message: Any) -> None:
            if request.get("at_answer"):
                os.kill(os.getpid(), signal.SIGKILL)
            await send(message)

        await app(scope, receive, send_or_die)

    reply = asyncio.run(exchange(served, "POST", request["url"], headers, json.dumps(request["body"]).encode()))
    raw = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in reply.headers]
    return json.dumps([reply.status, raw, reply.body.decode()]).encode()


if __name__ == "__main__":
    main()
