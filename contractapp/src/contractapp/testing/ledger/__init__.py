"""The ledger: every response of a test run, as it leaves the application, held against its contract both ways.

A pytest plugin. Switch it on in the configuration of pytest, beside the path of the contract from the root of the
project:

    [tool.pytest]
    addopts = ["-p", "contractapp.testing.ledger"]
    ledger_contract = "openapi.yaml"

From then on every request that a test sends to a `ContractApp` that serves this contract is recorded.

- What was seen must be documented: operation, status, media type, headers, and a body that its schema allows. The
  first response that breaks the contract is named with its test at the end, and fails any run.
- What is documented must be seen: each operation, status, media type, header and link. This is asked of runs of the
  whole suite alone, or with `--ledger=whole`.

A range such as `2XX`, `default` and a range of media types are seen when one of theirs is. A link is seen when the
operation that it leads to succeeds with the arguments that it names, later in the same test. A 405 counts for each
operation of its path. HEAD is held to what GET documents, OPTIONS to `Allow`; where the contract has operations for
them, to those. Bodies and headers are checked by python-jsonschema, not by what `ContractApp` uses.

Settings, beside `ledger_contract`:

- `ledger_problem`: the schema of an error, such as `#/components/schemas/Problem`, to which a 404 for a path that is
  not the contract's is held.
- `ledger_ignored_paths`: how the paths begin that the application serves beside the contract's, such as `/metrics`.
- `ledger_ignored_headers`: response headers that need not be documented, such as `X-Request-Id`.
- `ledger_report`: a file to which a run of the whole suite writes its table in Markdown.

A test whose purpose is an answer that breaks the contract is marked `@pytest.mark.unrecorded("why")`.
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

# Where an application remembers what `_base_path` found.
_KNOWN = "_ledger_base_path"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("ledger_contract", "the path of the contract, from the root of the project", "string")
    parser.addini("ledger_problem", "the schema of an error, such as #/components/schemas/Problem", "string", "")
    parser.addini("ledger_ignored_paths", "how paths begin that are not the contract's", "args", [])
    parser.addini("ledger_ignored_headers", "response headers that need not be documented", "args", [])
    parser.addini("ledger_report", "where a whole run writes its table", "string", "")
    parser.addoption(
        "--ledger", choices=["auto", "whole"], default="auto", help="whole: ask for every entry, whatever tests run"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "unrecorded(reason): what the test makes the API answer breaks the contract")
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
    """`ContractApp.__call__` that enters every response of an application that serves the ledger's contract."""

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
    """Where the application serves the contract; None where it serves others only, as tests of a library may."""
    known = application.__dict__.get(_KNOWN, False)
    if known is False:
        bases = (
            base
            for base, document in application.contracts
            if document.get("paths", {}).keys() == contract.document.get("paths", {}).keys()
        )
        known = next((base.rstrip("/") for base in bases), None)
        application.__dict__[_KNOWN] = known
    return known


def pytest_deselected(items: Iterable[pytest.Item]) -> None:
    for item in items:
        item.config.stash[_deselected] = True


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's, in the process that started the others
def pytest_testnodedown(node: Any) -> None:
    taken = getattr(node, "workeroutput", {}).get("ledger")
    if taken:  # a process that crashed leaves nothing
        node.config.stash[_ledger].add(taken)
        node.config.stash[_deselected] = node.config.stash.get(_deselected, False) or taken["deselected"]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    ledger = session.config.stash[_ledger]
    output = getattr(session.config, "workeroutput", None)
    if output is not None:  # a process of pytest-xdist: the one that started it judges
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
    """Whether every test was asked for and had its turn, or what was asked for is said to be enough."""
    config = session.config
    option = config.option
    if option.collectonly or session.shouldstop or session.shouldfail:
        return False
    if option.ledger == "whole":
        return True
    narrowed = option.keyword or option.markexpr or option.deselect or option.ignore or option.ignore_glob
    return not narrowed and not config.stash.get(_deselected, False) and _asks_for_all(config)


def _asks_for_all(config: pytest.Config) -> bool:
    """Whether the command names no paths, or at least all of `testpaths`."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return config.invocation_params.dir == config.rootpath
    asked = {Path(config.invocation_params.dir, argument).resolve() for argument in config.args}
    all_paths = {(config.rootpath / path).resolve() for path in config.getini("testpaths")} or {config.rootpath}
    return all_paths <= asked
