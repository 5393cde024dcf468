"""README.md is correct: each code block is run, read or compared."""

import inspect
import json
import re
import runpy
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from contractapp import ContractApp, compat
from contractapp.serve.connexion import OPTIONS_LEFT_TO_STOCK
from contractapp.testing import ledger

FOLDER = Path(__file__).parent.parent
TEXT = (FOLDER / "README.md").read_text()
PROJECT = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
PYTHON = ("hello", "preconditions", "orders", "problems", "inlined", "serving", "public")


def blocks(language):
    """The code blocks in a language, in the order of the page."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files of the page, from which modules are imported; the modules are unloaded afterwards."""
    (tmp_path / "hello.yaml").write_text(blocks("yaml")[0])
    for name, text in zip(PYTHON, blocks("python"), strict=True):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in PYTHON:
        sys.modules.pop(name, None)


def run(*command, folder):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout, done.stderr


def test_the_example_prints_the_output_shown(folder):
    assert run("hello.py", folder=folder) == (blocks("")[0], "")
    assert len([line for line in blocks("python")[0].splitlines() if line]) <= 10


def test_a_refused_request_gets_the_response_shown(folder, ask):
    import hello

    refused = ask(hello.app, "GET", "/greetings/World?times=many")

    assert (refused.status, refused.json()) == (400, json.loads(blocks("json")[0]))
    assert ask(hello.app, "GET", "/ui/").status == 200


def test_the_problem_is_answered_as_shown(folder, ask, contract):
    import problems

    count = {"type": "object", "properties": {"count": {"type": "integer"}}}
    operation = {
        "operationId": "order",
        "parameters": [{"name": "item_id", "in": "path", "required": True, "schema": {"type": "integer"}}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": count}}},
    }
    app = ContractApp("api")
    app.add_api(contract({"/items/{item_id}/orders": {"post": operation}}), handlers={"order": problems.order})
    order = partial(ask, app, "POST", headers=[("Content-Type", "application/json")])

    assert order("/items/2/orders", body=b'{"count": 1}').status == 404
    assert order("/items/1/orders", body=b'{"count": 6}').json() == json.loads(blocks("json")[1])
    assert order("/items/1/orders", body=b'{"count": 5}').header("location") == "/orders/7"


def test_the_example_of_preconditions_loses_no_change(folder, ask, contract):
    import preconditions

    def parameter(name, place, kind):
        return {"name": name, "in": place, "required": place == "path", "schema": {"type": kind}}

    def answers(*statuses):
        return {status: {"description": "An answer."} for status in ("200", *statuses)}

    body = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    document = contract(
        {
            "/notes/{note_id}": {
                "parameters": [parameter("note_id", "path", "integer")],
                "get": {
                    "operationId": "get_note",
                    "parameters": [parameter("If-None-Match", "header", "string")],
                    "responses": answers("304"),
                },
                "put": {
                    "operationId": "update_note",
                    "parameters": [parameter("If-Match", "header", "string")],
                    "requestBody": body,
                    "responses": answers("404", "412"),
                },
            }
        }
    )
    app = ContractApp("api")
    handlers = {"get_note": preconditions.get_note, "update_note": preconditions.update_note}
    app.add_api(document, handlers=handlers)
    json_and = [("Content-Type", "application/json")]
    preconditions.notes.execute("INSERT INTO notes (text) VALUES ('a')")

    tag = ask(app, "GET", "/notes/1").header("etag")
    changed = ask(app, "PUT", "/notes/1", [*json_and, ("If-Match", tag)], b'{"text": "b"}')
    stale = ask(app, "PUT", "/notes/1", [*json_and, ("If-Match", tag)], b'{"text": "c"}')

    assert (changed.status, stale.status) == (200, 412)
    assert stale.header("etag") == changed.header("etag") != tag
    assert ask(app, "GET", "/notes/1", [("If-None-Match", stale.header("etag"))]).status == 304
    assert ask(app, "PUT", "/notes/1", json_and, b'{"text": "d"}').status == 200
    assert ask(app, "PUT", "/notes/2", json_and, b'{"text": "d"}').status == 404


def test_the_example_of_idempotency_keys_creates_one_order(folder, ask, contract):
    import orders

    header = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}}
    operation = {
        "operationId": "create_order",
        "parameters": [header],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
    }
    app = ContractApp("api", idempotency_store=orders.Store())
    app.add_api(contract({"/orders": {"post": operation}}), handlers={"create_order": orders.create_order})

    def order(item, key):
        headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)]
        return ask(app, "POST", "/orders", headers, json.dumps(item).encode())

    first, again, other = order({"item": "a"}, "1"), order({"item": "a"}, "1"), order({"item": "a"}, "2")
    failed, reused = order({}, "3"), order({"item": "b"}, "1")

    assert (first.status, first.json(), again, other.json()) == (201, {"id": 1}, first, {"id": 2})
    assert (failed.status, reused.status) == (500, 422)
    assert orders.database.execute("SELECT item FROM orders").fetchall() == [("a",), ("a",)]
    assert order({"item": "c"}, "3").json() == {"id": 3}


def test_the_inline_handler_reads_its_file_in_a_thread(folder, ask, contract):
    import inlined

    (folder / "2026.txt").write_text("A good year.")
    year = {"name": "year", "in": "path", "required": True, "schema": {"type": "integer"}}
    app = ContractApp("api", inline=["get_report"])
    paths = {"/reports/{year}": {"get": {"operationId": "get_report", "parameters": [year]}}}
    app.add_api(contract(paths), handlers={"get_report": inlined.get_report})

    assert ask(app, "GET", "/reports/2026").json() == "A good year."


def test_the_layers_work_around_the_application(folder, ask):
    import public

    origin = [("Origin", "https://app.example"), ("X-Forwarded-For", "192.0.2.1")]
    answer = ask(public.app, "GET", "/greetings/World", origin)

    assert answer.json() == {"greeting": "Hello World"}
    assert answer.header("access-control-allow-origin") == "https://app.example"


def test_the_program_calls_serve_with_valid_arguments(folder, monkeypatch):
    from contractapp import server

    listen, serve = create_autospec(server.listen), create_autospec(server.serve)
    monkeypatch.setattr(server, "listen", listen)
    monkeypatch.setattr(server, "serve", serve)
    runpy.run_path("serving.py", run_name="__main__")

    listen.assert_called_once_with("127.0.0.1", 8000)
    assert serve.call_args.args == ("hello:app", listen.return_value.__enter__.return_value)


def test_all_settings_of_the_ledger_are_shown():
    known = []
    parser = type("Parser", (), {"addini": lambda _, name, *__: known.append(name), "addoption": lambda *_, **__: None})
    ledger.pytest_addoption(parser())
    (settings,) = blocks("toml")

    assert set(tomllib.loads(settings)["tool"]["pytest"]) - {"addopts"} == set(known)


def test_the_comparison_prints_the_output_shown(folder, capsys):
    (folder / "released.yaml").write_text((folder / "hello.yaml").read_text())
    (folder / "hello.yaml").write_text((folder / "hello.yaml").read_text().replace("maximum: 9", "maximum: 5"))

    assert compat.main(["released.yaml", "hello.yaml"]) == 1
    assert capsys.readouterr().out == blocks("")[1]


def test_the_page_names_every_argument_and_every_option_left_to_stock():
    connexions = {"import_name", "options", "middlewares", "swagger_ui_options"}
    own = set(inspect.signature(ContractApp).parameters) - connexions

    assert set(re.findall(r"^\| `(\w+)` \| (?:`Workers|none|1048576|`Problem)", TEXT, re.MULTILINE)) == own
    assert all(f"`{option}`" in TEXT for option in OPTIONS_LEFT_TO_STOCK)


def test_the_page_names_the_options_of_the_server(capsys):
    from contractapp.server.__main__ import main

    with pytest.raises(SystemExit):
        main(["--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}

    assert {option for option in options if f"`{option}`" in TEXT} == options


def test_the_versions_are_those_of_the_distribution():
    pythons = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)]
    extras = PROJECT["optional-dependencies"]
    needed = "\n".join([*PROJECT["dependencies"], *extras["server"], *extras["test"]])
    shown = re.findall(r"^\| `([\w\[\]]+)`[^|]* \| (\S+) \|$", TEXT, re.MULTILINE)

    assert f"| Python | {', '.join(pythons)} |" in TEXT
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    assert [name for name, _ in shown] == ["connexion[flask]", "flask", "uvicorn", "pytest"]
    assert [name + bounds for name, bounds in shown if f"{name}{bounds}" not in needed.splitlines()] == []
