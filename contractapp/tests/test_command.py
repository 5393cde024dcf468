"""`python -m contractapp.server`: what it serves, and the messages when it cannot."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

NOTES = Path(__file__).parent.parent / "examples" / "notes"
COMMAND = (sys.executable, "-W", "ignore", "-m", "contractapp.server")

BROKEN = """
from contractapp import ContractApp

def create_app():
    app = ContractApp(__name__)
    app.add_api(
        {"openapi": "3.0.3", "info": {"title": "a", "version": "1"}, "paths": {}}, handlers={"surplus": lambda: None}
    )
    return app
"""

THREADED = """
from threading import Event, Thread

Thread(target=Event().wait, name="clock", daemon=True).start()
app = dict
"""


@pytest.fixture
def serving(tmp_path):
    """A server on a free port: the process and the base URL that it prints."""
    processes = []

    def serving(*arguments, folder=NOTES):
        process = subprocess.Popen([*COMMAND, *arguments, "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process, re.fullmatch(r"Listening on (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())[1]

    yield serving
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def get(url):
    with urllib.request.urlopen(url, timeout=30) as response:
        return json.load(response)


@pytest.mark.parametrize("name", ["notes:create_app", "ready:app"])
@pytest.mark.parametrize("workers", [["1"], ["2"], ["2", "--preload"], ["auto"], ["auto", "--preload"]])
def test_an_application_or_a_function_that_returns_one_is_served_by_name(serving, tmp_path, name, workers):
    for file in ("notes.py", "openapi.yaml"):
        (tmp_path / file).write_text((NOTES / file).read_text())
    (tmp_path / "ready.py").write_text("import notes\n\napp = notes.create_app()\n")

    process, base = serving(name, "--workers", *workers, folder=tmp_path)

    assert get(f"{base}/v1/notes") == []
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none:app"], 'Could not import module "none".'),
        (["broken:none"], 'Attribute "none" not found in module "broken".'),
        (["broken"], 'Import string "broken" must be in format "<module>:<attribute>".'),
        (["broken:create_app"], "The handler 'surplus' has no operation in the contract."),
        (["broken:create_app", "--workers", "2"], "The handler 'surplus' has no operation in the contract."),
        (
            ["threaded:app", "--workers", "2", "--preload"],
            (
                "Workers that share an application would lack its thread 'clock': give the application's name, as "
                "module:name, or start threads later."
            ),
        ),
        (
            ["empty:app", "--host", "192.0.2.1"],
            "Cannot listen on 192.0.2.1, port 8000: Cannot assign requested address.",
        ),
    ],
)
def test_a_sentence_when_serving_cannot_start(tmp_path, arguments, sentence):
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "empty.py").write_text("app = dict")
    (tmp_path / "threaded.py").write_text(THREADED)

    run = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout, run.stderr) == (1, "", f"{sentence}\n")


def test_an_unreadable_number_of_workers_is_refused(tmp_path):
    run = subprocess.run([*COMMAND, "a:b", "--workers", "many"], capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.endswith("argument --workers: invalid number value: 'many'\n")
