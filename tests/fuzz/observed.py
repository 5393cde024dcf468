"""Schemathesis, observed: `python -m tests.fuzz.observed run …` takes the arguments of `schemathesis`.

Before each scenario the tables get the same few rows, so that its requests fail in the same way on any database with
these rows. What the server logs for a 5xx stands beside the failure. What was sent and what failed goes
into the file that `FUZZ_OBSERVED` names, as JSON.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis.control import current_build_context, currently_in_test_context
from schemathesis import cli
from schemathesis.core.failures import Failure
from schemathesis.engine import events
from schemathesis.engine.run import PhaseName
from sqlalchemy import create_engine, event

from tests import stored

_engine = create_engine(os.environ["FUZZ_DATABASE"])


@event.listens_for(_engine, "connect")
def _do_not_sync(connection: Any, _entry: object) -> None:
    if _engine.dialect.name == "sqlite":  # rows of a test need not survive a power cut
        connection.execute("PRAGMA synchronous = OFF")


class _Scenarios:
    """Recognises the first request of a scenario. Hypothesis has a context for each; else each request is one."""

    def __init__(self) -> None:
        self._current: object = None

    def begins(self) -> bool:
        found = current_build_context() if currently_in_test_context() else object()
        same, self._current = found is self._current, found
        return not same


_scenarios = _Scenarios()


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Store the rows before the first request of a scenario; the requests that checks make have no `meta`."""
    if case.meta is not None and _scenarios.begins():
        with _engine.begin() as connection:
            stored.store(connection)


class ServerSaid(Failure):
    """What the server logged for a request that failed."""


class _Log:
    """The log of the server, read from where it was read last: requests are sent one at a time."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open(encoding="utf-8", errors="replace")  # noqa: SIM115  # until the process ends
        self._file.seek(0, os.SEEK_END)

    def new_lines(self) -> str:
        return self._file.read().strip()


_log = _Log(os.environ["FUZZ_LOG"])


@schemathesis.check
def the_server_says_why(_ctx: Any, response: Any, case: Any) -> None:
    """The response to a 5xx says nothing about its cause; the log does."""
    said = _log.new_lines()
    if response.status_code >= 500 and said:
        raise ServerSaid(operation=case.operation.label, title="What the server logged", message=said)


@cli.handler()
class Observer(cli.EventHandler):
    """Counts what was sent, and keeps the requests of each failure."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self._requests: dict[str, Counter[str]] = {}
        self._links: Counter[str] = Counter()
        self._failures: dict[str, list[str]] = {}

    def handle_event(self, _ctx: Any, happened: events.EngineEvent) -> None:
        """Look at a finished scenario; in the phases before the scenarios, it is all requests to one operation."""
        if not isinstance(happened, events.ScenarioFinished):
            return
        scenario = _Scenario(happened.recorder, happened.phase)
        self._requests.setdefault(happened.phase.value, Counter()).update(scenario.requests())
        self._links.update(set(scenario.links()))  # a link counts once in a scenario
        for case_id in happened.recorder.failing_case_ids():
            # Hypothesis sends the shortest requests that fail last.
            self._failures[scenario.title(case_id)] = list(scenario.curl_lines(case_id))

    def shutdown(self, _ctx: Any) -> None:
        observed = {"requests": self._requests, "links": self._links, "failures": self._failures}
        Path(os.environ["FUZZ_OBSERVED"]).write_text(json.dumps(observed))


class _Scenario:
    def __init__(self, recorder: Any, phase: PhaseName) -> None:
        self._recorder = recorder
        self._is_chain = phase is PhaseName.STATEFUL_TESTING

    def requests(self) -> Counter[str]:
        """The number of requests to each operation."""
        return Counter(
            node.value.operation.label for case_id, node in self._recorder.cases.items() if self._status(case_id)
        )

    def links(self) -> Iterator[str]:
        """The links that led to a success, such as `POST /users -> [201] delete_user`."""
        for case_id, node in self._recorder.cases.items():
            if node.transition is not None and node.is_transition_applied and 0 < self._status(case_id) < 300:
                yield " -> ".join(node.transition.id.split(" -> ")[:2])

    def title(self, case_id: str) -> str:
        """The operation that failed, and what its checks say."""
        nodes = [node.failure_info for node in self._recorder.checks[case_id] if node.failure_info is not None]
        titles = sorted({node.failure.title for node in nodes})
        return f"{self._recorder.cases[case_id].value.operation.label}: {', '.join(titles)}"

    def curl_lines(self, case_id: str) -> Iterator[str]:
        """The requests that lead to a failure: what changed a row before it, the request, and that of a check."""
        probes = [other for other, node in self._recorder.cases.items() if self._is_probe(node, case_id)]
        needed = {case.id for case in self._recorder.iter_chain_cases(case_id=case_id, related_case_ids=(*probes,))}
        before = self._is_chain
        for other, node in self._recorder.cases.items():
            changes = before and node.value.method.upper() != "GET" and 0 < self._status(other) < 300
            if other in needed or changes:
                yield node.value.as_curl_command(headers=self._recorder.find_request_headers(case_id=other))
            before = before and other != case_id

    def _is_probe(self, node: Any, case_id: str) -> bool:
        return node.parent_id == case_id and node.transition is None

    def _status(self, case_id: str) -> int:
        """The status of the response; 0 without one."""
        response = self._recorder.find_response(case_id=case_id)
        return 0 if response is None else int(response.status_code)


if __name__ == "__main__":
    cli.schemathesis()
