"""The ledger, a pytest plugin: compares every response in a test run with the contract, in both directions.

Switch it on in the configuration of pytest, with the path of the contract from the root of the project:

    [tool.pytest]
    addopts = ["-p", "contractapp.testing.ledger"]
    ledger_contract = "openapi.yaml"

The ledger then records every request that a test sends to a `ContractApp` that serves this contract.

- Every response must be documented: its operation, status, media type, headers, and a body that matches the schema.
  Responses that break the contract are listed at the end, each kind once with the first test that got it. They fail
  every run.
- Everything documented must occur: each operation, status, media type, header and link. Gaps fail only runs of the
  whole suite, and runs with `--ledger=whole`.

A range such as `2XX`, `default` or a range of media types counts as seen when one of its members occurs. A link counts
as seen when the operation that it leads to succeeds, with the arguments that it names, later in the same test. A 405
counts for each operation of its path. HEAD must match the responses of GET, and OPTIONS the header `Allow`, unless the
contract has operations for these methods. Bodies and headers are checked by python-jsonschema, which `ContractApp`
does not use.

Settings, in addition to `ledger_contract`:

- `ledger_problem`: the schema of an error, such as `#/components/schemas/Problem`. A 404 for a path that is not in the
  contract must match it.
- `ledger_ignored_paths`: prefixes of other paths that the application serves, such as `/metrics`.
- `ledger_ignored_headers`: response headers that need not be documented, such as `X-Request-Id`.
- `ledger_report`: a file to which a run of the whole suite writes a table in Markdown.

Mark a test whose purpose is a response that breaks the contract with `@pytest.mark.unrecorded("why")`.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from contractapp import ContractApp, ContractError
from contractapp.compile.document import read_document, require_openapi_30
from contractapp.testing.ledger.contract import METHODS, Contract
from contractapp.testing.ledger.expressions import Response
from contractapp.testing.ledger.judging import Ledger
from contractapp.testing.ledger.report import lines, page
from contractapp.testing.ledger.schemas import Schemas

__all__ = ["METHODS", "Contract", "Ledger", "Response", "Schemas"]

_ledger = pytest.StashKey[Ledger]()
_deselected = pytest.StashKey[bool]()
_original = ContractApp.__call__

# The attribute of an application in which `_base_path` caches its result.
_CACHED = "_ledger_base_path"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("ledger_contract", "the path of the contract, from the root of the project", "string")
    parser.addini("ledger_problem", "the schema of an error, such as #/components/schemas/Problem", "string", "")
    parser.addini("ledger_ignored_paths", "prefixes of served paths that are not in the contract", "args", [])
    parser.addini("ledger_ignored_headers", "response headers that need not be documented", "args", [])
    parser.addini("ledger_report", "the file to which a run of the whole suite writes its table", "string", "")
    parser.addoption(
        "--ledger", choices=["auto", "whole"], default="auto", help="whole: list gaps, whichever tests run"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "unrecorded(reason): the ledger ignores the responses in this test")
    path = config.getini("ledger_contract")
    if not path:
        raise pytest.UsageError("contractapp.testing.ledger needs ledger_contract, the path of the contract.")
    file = config.rootpath / path
    try:
        document = read_document(file)
        require_openapi_30(document, path)
        contract = Contract(document, config.getini("ledger_problem") or None, uri=file.as_uri())
    except ContractError as error:
        raise pytest.UsageError(f"ledger_contract: {error}") from error
    ledger = config.stash[_ledger] = Ledger(
        contract,
        ignored_paths=config.getini("ledger_ignored_paths"),
        ignored_headers=config.getini("ledger_ignored_headers"),
    )
    setattr(ContractApp, "__call__", _recorded(ledger))  # noqa: B010  # as mypy allows


def pytest_unconfigure() -> None:
    setattr(ContractApp, "__call__", _original)  # noqa: B010  # as above


@pytest.fixture(autouse=True)
def _unrecorded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("unrecorded"):
        monkeypatch.setattr(ContractApp, "__call__", _original)


def _recorded(ledger: Ledger) -> Any:
    """A replacement for `ContractApp.__call__` that records the responses of applications that serve the contract."""

    async def call(self: ContractApp, scope: Any, receive: Any, send: Any) -> None:
        base_path = _base_path(self, ledger.contract) if scope["type"] == "http" else None
        if base_path is None:
            await _original(self, scope, receive, send)
            return
        asked = dict(scope)  # Connexion's routing changes it
        sent, head, body = bytearray(), {}, bytearray()

        async def received() -> Any:
            message = await receive()
            sent.extend(message.get("body", b""))
            return message

        async def answered(message: Any) -> None:
            if message["type"] == "http.response.start":
                head.update(message)
            else:
                body.extend(message.get("body", b""))
            await send(message)

        await _original(self, scope, received, answered)
        if head:
            test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
            ledger.record(_response(asked, base_path, bytes(sent), head, bytes(body)), test)

    return call


def _response(scope: Any, base_path: str, sent: bytes, head: Any, body: bytes) -> Response:
    sent_headers = _text(scope["headers"])
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    query = scope["query_string"].decode("latin-1")
    url = f"{scope['scheme']}://{dict(sent_headers).get('host', '')}{scope['path']}" + (f"?{query}" if query else "")
    headers = _text(head.get("headers", ()))
    return Response(
        scope["method"], path, query, sent, head["status"], headers, body, base_path, url, tuple(sent_headers)
    )


def _text(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]


def _base_path(application: ContractApp, contract: Contract) -> str | None:
    """The path under which the application serves the contract; None if it serves only other contracts."""
    cached = application.__dict__.get(_CACHED, False)
    if cached is False:
        bases = (
            base
            for base, document in application.contracts
            if document.get("paths", {}).keys() == contract.document.get("paths", {}).keys()
        )
        cached = next((base.rstrip("/") for base in bases), None)
        application.__dict__[_CACHED] = cached
    return cached


def pytest_deselected(items: Iterable[pytest.Item]) -> None:
    for item in items:
        item.config.stash[_deselected] = True


@pytest.hookimpl(optionalhook=True)  # a hook of pytest-xdist, called in the process that started the others
def pytest_testnodedown(node: Any) -> None:
    taken = getattr(node, "workeroutput", {}).get("ledger")
    if taken:  # nothing, if the process crashed
        node.config.stash[_ledger].add(taken)
        node.config.stash[_deselected] = node.config.stash.get(_deselected, False) or taken["deselected"]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    ledger = session.config.stash[_ledger]
    output = getattr(session.config, "workeroutput", None)
    if output is not None:  # a process of pytest-xdist: the process that started it judges
        output["ledger"] = {**ledger.taken(), "deselected": session.config.stash.get(_deselected, False)}
        return
    whole = _is_whole(session)
    report = session.config.getini("ledger_report")
    if whole and report:
        file = session.config.rootpath / report
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(page(ledger)), "utf-8")
    if exitstatus == 0 and (ledger.breaches or (whole and ledger.gaps())):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    ledger = config.stash[_ledger]
    whole = _is_whole(terminalreporter._session)  # noqa: SLF001  # pytest has no other way to ask
    if whole or ledger.breaches:
        terminalreporter.section(f"the ledger: {ledger.responses} responses against the contract")
    if whole and not ledger.responses:
        terminalreporter.write_line("No application of this run served the contract.")
    if whole:
        for line in (*lines(ledger), *(f"GAP: {gap}" for gap in ledger.gaps())):
            terminalreporter.write_line(line)
    for breach, test in ledger.breaches.items():
        terminalreporter.write_line(f"BREACH: {breach} ({test})")


def _is_whole(session: pytest.Session) -> bool:
    """Whether the whole suite was selected and ran to its end, or `--ledger=whole` was given."""
    config = session.config
    option = config.option
    if option.collectonly or session.shouldstop or session.shouldfail:
        return False
    if option.ledger == "whole":
        return True
    narrowed = option.keyword or option.markexpr or option.deselect or option.ignore or option.ignore_glob
    return not narrowed and not config.stash.get(_deselected, False) and _asks_for_all(config)


def _asks_for_all(config: pytest.Config) -> bool:
    """Whether the command names no paths, or at least all those of `testpaths`."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return config.invocation_params.dir == config.rootpath
    asked = {Path(config.invocation_params.dir, argument).resolve() for argument in config.args}
    all_paths = {(config.rootpath / path).resolve() for path in config.getini("testpaths")} or {config.rootpath}
    return all_paths <= asked
