"""Starts the installed wheel outside the checkout, asks it for its contract and a user, stops it (`tox -e wheel`)."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path


def main() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = f"http://127.0.0.1:{port}/api"
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "DATABASE_URL": f"sqlite:///{folder}/api.db"}
        api = str(Path(sys.executable).with_name("api"))
        server = subprocess.Popen([api, "serve", "--port", str(port)], cwd=folder, env=environment)
        try:
            contract = json.loads(_get(f"{base}/openapi.json"))
            assert contract["openapi"].startswith("3."), contract
            assert json.loads(_get(f"{base}/health/ready")) == {"status": "ok"}
            subprocess.run([api, "check"], cwd=folder, env=environment, check=True)
        finally:
            server.send_signal(signal.SIGTERM)
            status = server.wait(20)
        assert status == 0, status
    print("The installed wheel serves its contract.")


def _get(url: str) -> bytes:
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.read()
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"no answer from {url}")


if __name__ == "__main__":
    main()
