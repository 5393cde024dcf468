"""The ledger: every response of the run, as it leaves the application, held against the contract both ways.

What was seen must be documented: operation, status, media type, headers, and a body that its schema allows. What is
documented must be seen: every operation, status, media type, header and link. The first is asked of every run, the
second of runs of the whole suite. Bodies and headers are checked by python-jsonschema, not by what the service uses.

A 405 counts for its path. HEAD is held to GET, and OPTIONS to what `Allow` has to say.
"""

import json
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import yaml

from contractapp import ContractApp

# These belong to the connection and the message (RFC 9110, section 7.6.1), or are said by `content`.
_MESSAGE = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"} | {"date", "server"}
_CONTENT = {"content-type", "content-length"}
# These are the browser's business, there where the configuration names other sites' pages.
_CROSS_ORIGIN = ("access-control-", "vary")
METHODS = ("get", "put", "post", "delete", "patch", "trace")
_RANGES = {"int32": 2**31, "int64": 2**63}

formats = jsonschema.FormatChecker()
for _name, _limit in _RANGES.items():
    formats.checks(_name)(lambda value, limit=_limit: not isinstance(value, int) or -limit <= value < limit)


class Response(NamedTuple):
    """A response at the ASGI boundary, and what it answers; header names in lower case."""

    method: str
    path: str
    query: str
    sent: bytes
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


class Contract:
    """The document, its references followed."""

    def __init__(self, document: Mapping[str, Any], base_path: str = "", problem: str | None = None) -> None:
        self.document = document
        self.problem = self.resolve({"$ref": problem}) if problem else None
        self.base_path = base_path
        self.paths = {path: self.resolve(item) for path, item in document["paths"].items()}
        self.by_id = {self.paths[path][method]["operationId"]: (method, path) for path, method in self._operations()}

    def _operations(self) -> Iterator[tuple[str, str]]:
        for path, item in self.paths.items():
            yield from ((path, method) for method in METHODS if method in item)

    def resolve(self, value: Any) -> Any:
        """The value with every `$ref` in it replaced by what it points to."""
        if isinstance(value, Mapping):
            reference = value.get("$ref")
            if isinstance(reference, str):
                target: Any = self.document
                for segment in reference.removeprefix("#/").split("/"):
                    target = target[segment.replace("~1", "/").replace("~0", "~")]
                return self.resolve(target)
            return {key: self.resolve(member) for key, member in value.items()}
        return [self.resolve(member) for member in value] if isinstance(value, list) else value

    def find(self, path: str) -> tuple[str, dict[str, str]] | None:
        """The path of the contract that this path is one of, and the values in it."""
        if not path.startswith(self.base_path + "/"):
            return None
        segments = path[len(self.base_path) :].split("/")
        for template in sorted(self.paths, key=lambda template: template.count("{")):
            names = template.split("/")
            if len(names) == len(segments) and all(
                name == segment or (name.startswith("{") and segment)
                for name, segment in zip(names, segments, strict=True)
            ):
                values = {n[1:-1]: s for n, s in zip(names, segments, strict=True) if n.startswith("{")}
                return template, values
        return None

    def allow(self, template: str) -> list[str]:
        """The methods that a path takes."""
        methods = [method.upper() for method in METHODS if method in self.paths[template]]
        return sorted([*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])])

    def documented(self) -> Iterator[tuple[str, str, str, str]]:
        """Every (operationId, status, kind, name) that the contract promises; kind is media type, header or link."""
        for path, method in self._operations():
            operation = self.paths[path][method]
            for status, response in operation["responses"].items():
                name = operation["operationId"]
                yield name, status, "status", ""
                for kind, member in (("media type", "content"), ("header", "headers"), ("link", "links")):
                    yield from ((name, status, kind, key) for key in response.get(member, {}))


class Ledger:
    """What was seen, what breaks the contract, and what is still missing."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.seen: Counter[tuple[str, str, str, str]] = Counter()
        self.breaches: dict[str, str] = {}
        self.responses = 0
        self._lock = threading.Lock()
        self._checked: set[tuple[object, ...]] = set()
        self._test = ""
        self._offered: dict[str, set[tuple[str, str, str, tuple[tuple[str, str], ...]]]] = defaultdict(set)

    def record(self, response: Response, test: str = "") -> None:
        """Enter one response."""
        with self._lock:
            self.responses += 1
            if test != self._test:  # each test begins with empty tables: ids mean something else
                self._test = test
                self._offered.clear()
            for breach in self._judge(response):
                self.breaches.setdefault(breach, test)

    def gaps(self) -> list[str]:
        """What the contract documents and nobody saw, a line each."""
        missing = [entry for entry in self.contract.documented() if not self.seen[entry]]
        unseen = {entry[:2] for entry in missing if entry[2] == "status"}
        return [
            f"{name} {status} was never seen" if kind == "status" else f"{name} {status}: {kind} {what} was never seen"
            for name, status, kind, what in missing
            if kind == "status" or (name, status) not in unseen
        ]

    def _judge(self, response: Response) -> Iterator[str]:
        found = self.contract.find(response.path)
        if found is None:
            yield from self._outside(response)
            return
        template, values = found
        item = self.contract.paths[template]
        method = response.method.lower()
        where = f"{response.method} {template}"
        if method in item:
            yield from self._operation(response, item[method], where)
            yield from self._links(response, item[method], values)
        elif method == "head" and "get" in item:
            yield from self._head(response, item["get"], where)
        elif method == "options":
            if response.status != 204 or response.body or response.header("content-type") is not None:
                yield f"{where} answered {response.status}, not 204 without a body"
            if response.header("access-control-allow-methods") is None:  # a preflight is not about the path
                yield from self._allow(response, template, where)
        else:
            if response.status != 405:
                yield f"{where} answered {response.status}, not 405"
                return
            yield from self._allow(response, template, where)
            for operation in (item[name] for name in METHODS if name in item):
                yield from self._operation(response, operation, where)

    def _outside(self, response: Response) -> Iterator[str]:
        """Beside the contract's paths: the documentation, and nothing else but a 404 in the shape of the others."""
        if (response.status < 400 or response.status == 405) and self._is_documentation(response.path):
            return
        where = f"{response.method} outside the contract's paths"
        if response.status != 404:
            yield f"{where} answered {response.status}, not 404"
        elif response.header("content-type") != "application/problem+json":
            yield f"{where} answered {response.header('content-type')}"
        elif response.method != "HEAD" and self.contract.problem is not None:
            yield from self._body(response, self.contract.problem, where)

    def _is_documentation(self, path: str) -> bool:
        documents = ("/openapi.json", "/openapi.yaml", "/ui")
        return path == "/" or path.removeprefix(self.contract.base_path).startswith(documents)

    def _operation(self, response: Response, operation: Mapping[str, Any], where: str) -> Iterator[str]:
        name, status = operation["operationId"], str(response.status)
        documented = operation["responses"].get(status)
        if documented is None:
            yield f"{where} answered {status}, which {name} does not document"
            return
        self.seen[name, status, "status", ""] += 1
        where = f"{where} {status}"
        media_type = self._media_type(response)
        content = documented.get("content", {})
        if media_type is not None and media_type in content:
            self.seen[name, status, "media type", media_type] += 1
            yield from self._body(response, content[media_type].get("schema", {}), where)
        elif content or media_type or response.body:
            yield f"{where}: media type {media_type} is not documented"
        for header in self._known(response, documented):
            self.seen[name, status, "header", header] += 1
        yield from self._headers(response, documented, where)

    def _head(self, response: Response, operation: Mapping[str, Any], where: str) -> Iterator[str]:
        """Status and headers of GET, no body."""
        documented = operation["responses"].get(str(response.status))
        if response.body:
            yield f"{where} answered with a body"
        if documented is None:
            yield f"{where} answered {response.status}, which GET does not document"
            return
        where = f"{where} {response.status}"
        if self._media_type(response) not in documented.get("content", {}):
            yield f"{where}: media type {self._media_type(response)} is not documented for GET"
        yield from self._headers(response, documented, where)

    def _allow(self, response: Response, template: str, where: str) -> Iterator[str]:
        allow = response.header("allow") or ""
        if sorted(allow.split(", ")) != self.contract.allow(template):
            yield f"{where} {response.status}: Allow says {allow!r}"

    @staticmethod
    def _media_type(response: Response) -> str | None:
        value = response.header("content-type")
        return None if value is None else value.partition(";")[0].strip().lower()

    @staticmethod
    def _known(response: Response, documented: Mapping[str, Any]) -> Iterator[str]:
        names = {name for name, _ in response.headers}
        return (name for name in documented.get("headers", {}) if name.lower() in names)

    def _headers(self, response: Response, documented: Mapping[str, Any], where: str) -> Iterator[str]:
        headers = {name.lower(): header for name, header in documented.get("headers", {}).items()}
        names = [name for name, _ in response.headers]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{where}: header {name} is there more than once"
        for name in sorted(set(names) - _MESSAGE - _CONTENT - headers.keys()):
            if not name.startswith(_CROSS_ORIGIN):
                yield f"{where}: header {name} is not documented"
        for name, header in headers.items():
            value = response.header(name)
            if value is None:
                if header.get("required"):
                    yield f"{where}: header {name} is missing"
                continue
            number = header["schema"].get("type") == "integer" and value.isascii() and value.isdigit()
            for fault in faults_of(header["schema"], int(value) if number else value):
                yield f"{where}: header {name}: {fault}"

    def _body(self, response: Response, schema: Mapping[str, Any], where: str) -> Iterator[str]:
        key = (where, id(schema), response.body)
        if key in self._checked:
            return
        self._checked.add(key)
        try:
            value = json.loads(response.body, parse_constant=_refuse)
        except ValueError:
            yield f"{where}: the body is no JSON"
            return
        for fault in faults_of(schema, value):
            yield f"{where}: {fault}"
        if response.header("content-length") not in {None, str(len(response.body))}:
            yield f"{where}: Content-Length is not the length of the body"

    def _links(self, response: Response, operation: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[str]:
        """Remember the links offered; a link offered before is seen when what it leads to succeeds."""
        if response.status < 300:
            given = {**values} | dict(pair.partition("=")[::2] for pair in response.query.split("&"))
            for source, status, link, parameters in self._offered[operation["operationId"]]:
                if all(given.get(name) == value for name, value in parameters):
                    self.seen[source, status, "link", link] += 1
        documented = operation["responses"].get(str(response.status), {})
        for link, definition in documented.get("links", {}).items():
            found: list[tuple[str, str]] = []
            for name, expression in definition.get("parameters", {}).items():
                value = _evaluated(expression, response)
                if value is None:
                    yield f"{operation['operationId']} {response.status}: link {link}: {expression} is nothing"
                found.append((name, str(value)))
            target = definition["operationId"]
            self._offered[target].add((operation["operationId"], str(response.status), link, tuple(found)))


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and the infinities, which Python reads as if they were JSON


def _evaluated(expression: str, response: Response) -> Any:
    """A runtime expression of OpenAPI (3.0.3, section 4.7.20.3), of the one kind that the contract has."""
    pointer = expression.removeprefix("$response.body#/")
    if pointer == expression:
        raise NotImplementedError(expression)
    try:
        value = json.loads(response.body)
    except ValueError:
        return None
    for segment in pointer.split("/"):
        value = value.get(segment) if isinstance(value, dict) else None
    return value


def faults_of(schema: Mapping[str, Any], value: Any) -> Iterator[str]:
    for error in _validator(json.dumps(schema)).iter_errors(value):
        place = "/".join(str(segment) for segment in error.absolute_path) or "the whole"
        yield f"{place} breaks {error.validator} {str(error.validator_value)[:80]}"


@cache
def _validator(schema: str) -> jsonschema.Draft4Validator:
    return jsonschema.Draft4Validator(json.loads(schema), format_checker=formats)


def table(ledger: Ledger) -> Iterator[str]:
    """The ledger as a Markdown table."""
    yield "| Operation | Status | Seen | Media types | Headers | Links |"
    yield "| --- | --- | --- | --- | --- | --- |"
    rows: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, status, kind, what in ledger.contract.documented():
        rows[name, status][kind].append(f"{what} {ledger.seen[name, status, kind, what]}".strip())
    for (name, status), kinds in rows.items():
        cells = (", ".join(kinds[kind]) for kind in ("status", "media type", "header", "link"))
        yield f"| {name} | {status} | {' | '.join(cells)} |"


def lines(ledger: Ledger) -> Iterator[str]:
    """The ledger in short: a line for each operation."""
    rows: dict[str, list[str]] = defaultdict(list)
    for name, status, kind, what in ledger.contract.documented():
        count = ledger.seen[name, status, kind, what]
        if kind == "status":
            rows[name].append(f"{status}:{count}")
        elif kind == "link":
            rows[name].append(f"{what}:{count}")
    yield from (f"{name:15} {' '.join(cells)}" for name, cells in rows.items())


# The plugin: switched on by `pytest_plugins = ["contractapp.testing.ledger"]` in the conftest.py of the tests.


def recorded(ledger: Ledger, application: Any) -> Any:
    """`ContractApp.__call__` that enters every response to the API of this contract."""

    async def call(self: ContractApp, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not _is_ours(self, ledger):
            await application(self, scope, receive, send)
            return
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

        await application(self, scope, received, answered)
        if head:
            headers = [(k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in head["headers"]]
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            query = scope["query_string"].decode("latin-1")
            test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
            ledger.record(
                Response(scope["method"], path, query, bytes(sent), head["status"], headers, bytes(body)), test
            )

    return call


def _is_ours(application: ContractApp, ledger: Ledger) -> bool:
    """Whether the application serves this contract: tests of the runtime bring contracts of their own."""
    known = application.__dict__.get("_in_ledger")
    if known is None:
        paths = [contract.get("paths", {}).keys() for contract in application.contracts]
        known = ledger.contract.paths.keys() in paths
        application.__dict__["_in_ledger"] = known
    return known


_ledger = pytest.StashKey[Ledger]()
_original = ContractApp.__call__


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("ledger_contract", "the path of the contract, from the root of the project", "string")
    parser.addini("ledger_base_path", "where the application serves the contract, such as /api", "string", "")
    parser.addini("ledger_problem", "the schema of a problem, such as #/components/schemas/Problem", "string", "")
    parser.addini("ledger_report", "where a whole run writes its table", "string", "reports/ledger.md")
    parser.addoption(
        "--ledger", choices=["auto", "whole"], default="auto", help="whole: ask for every entry, whatever tests run"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "unrecorded(reason): what the test makes the API answer breaks the contract")
    path = config.getini("ledger_contract")
    if not path:
        raise pytest.UsageError("contractapp.testing.ledger needs ledger_contract, the path of the contract.")
    document = yaml.safe_load((config.rootpath / path).read_text())
    problem = config.getini("ledger_problem") or None
    ledger = config.stash[_ledger] = Ledger(Contract(document, config.getini("ledger_base_path"), problem))
    setattr(ContractApp, "__call__", recorded(ledger, _original))  # noqa: B010  # as mypy allows


def pytest_unconfigure() -> None:
    setattr(ContractApp, "__call__", _original)  # noqa: B010  # as above


@pytest.fixture(autouse=True)
def _unrecorded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("unrecorded"):
        monkeypatch.setattr(ContractApp, "__call__", _original)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    ledger = session.config.stash[_ledger]
    if session.config.option.collectonly or not ledger.responses:
        return
    whole = _is_whole(session)
    if whole:
        report = session.config.rootpath / session.config.getini("ledger_report")
        report.parent.mkdir(parents=True, exist_ok=True)
        faults = [
            *(f"- {gap}" for gap in ledger.gaps()),
            *(f"- {breach} ({test})" for breach, test in ledger.breaches.items()),
        ]
        report.write_text("\n".join(["# The ledger", "", *table(ledger), "", *(faults or ["No gaps."]), ""]))
    if exitstatus == 0 and (ledger.breaches or (whole and ledger.gaps())):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_deselected(items: Iterable[pytest.Item]) -> None:
    for item in items:
        item.session.stash[_selected] = True


_selected = pytest.StashKey[bool]()


def _is_whole(session: pytest.Session) -> bool:
    """Whether every test was asked for and had its turn, or what was asked for is said to be enough."""
    config = session.config
    option = config.option
    if option.ledger == "whole":
        return not session.shouldstop and not session.shouldfail
    asked = {Path(config.invocation_params.dir, argument).resolve() for argument in config.args}
    all_paths = {(config.rootpath / path).resolve() for path in config.getini("testpaths")}
    narrowed = option.keyword or option.markexpr or option.deselect or option.ignore or option.ignore_glob
    return (
        all_paths <= asked
        and not narrowed
        and not session.stash.get(_selected, False)
        and not session.shouldstop
        and not session.shouldfail
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    ledger = config.stash[_ledger]
    session = terminalreporter._session  # noqa: SLF001  # pytest has no other way to ask
    if not ledger.responses:
        return
    whole = _is_whole(session)
    if whole or ledger.breaches:
        terminalreporter.section(f"the ledger: {ledger.responses} responses against the contract")
    if whole:
        for line in (*lines(ledger), *(f"GAP: {gap}" for gap in ledger.gaps())):
            terminalreporter.write_line(line)
    for breach, test in ledger.breaches.items():
        terminalreporter.write_line(f"BREACH: {breach} ({test})")
