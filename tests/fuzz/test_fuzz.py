"""Schemathesis in process: requests generated from the contract; its checks and two of the project's check responses.

`tox -e fuzz` runs the same checks for longer, with other seeds, against a started server.
"""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from unittest import SkipTest

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from api import create_app
from tests.fuzz.checks import config
from tests.fuzz.reached import links
from tests.resources import OPERATIONS, RESOURCES

DIGESTS = "FUZZ_DIGESTS"  # names a file to which each test adds its name and a hash of the requests it sent
# Hypothesis's health checks mostly fail because the machine is busy.
PATIENT = settings(deadline=None, suppress_health_check=list(HealthCheck))
SCENARIOS = settings(PATIENT, stateful_step_count=12, derandomize=True, database=None)


class Subject:
    """An ASGI application that passes requests to the one under test, which does not exist at collection time."""

    def __init__(self, application):
        self.application = application
        self.sent = hashlib.sha256()

    @property
    def app(self):
        return self.application.app

    async def __call__(self, scope, receive, send):
        async def received():
            message = await receive()
            self.sent.update(message.get("body", b""))
            return message

        self.sent.update(repr([scope.get(key) for key in ("method", "raw_path", "query_string")]).encode())
        await self.application(scope, received, send)


# An application without tables serves the contract to Schemathesis.
subject = Subject(create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": "sqlite://"}))


def contract(phase, max_examples=1):
    return schemathesis.openapi.from_asgi("/api/openapi.json", subject, config=config(phase, max_examples))


by_examples = contract("examples").exclude(tag="health")  # has no parameters, so no examples
by_coverage = contract("coverage")
by_fuzzing = contract("fuzzing", max_examples=50)
by_links = contract("stateful")

LINKS = set(links())


@pytest.fixture(autouse=True)
def tested(app, rows, request):
    """The application of the run, a row in every table, behind the contract."""
    subject.application = app
    subject.sent = hashlib.sha256()
    yield
    if DIGESTS in os.environ:
        with Path(os.environ[DIGESTS]).open("a") as file:
            file.write(f"{request.node.name} {subject.sent.hexdigest()}\n")


@by_examples.parametrize()
@PATIENT
def test_examples(case):
    assert case.meta.phase.name == "examples"
    case.call_and_validate()


@by_coverage.parametrize()
@PATIENT
def test_coverage(case):
    assert case.meta.phase.name == "coverage"
    case.call_and_validate()


@by_fuzzing.parametrize()
@PATIENT
def test_fuzzing(case):
    assert case.meta.phase.name == "fuzzing"
    case.call_and_validate()


class Done(SkipTest):
    """Every link was followed. Hypothesis does not rerun a test after this exception, as it does after any other."""


@pytest.fixture
def follow(empty):
    """Run at most this many scenarios, until every link led to a success; the number of links that did."""

    def follow(scenarios):
        followed = Counter()

        class Links(by_links.as_state_machine()):
            def setup(self):
                empty()  # Hypothesis reports a scenario as flaky if it depends on the previous one

            def before_call(self, case):
                source, name, origin = self.link_to(case)
                if name is not None and case.meta.generation.mode.is_positive and isinstance(case.body, dict):
                    case.body.update(references(name, source, origin.json()))

            def after_call(self, response, case):
                super().after_call(response, case)
                source, name, origin = self.link_to(case)
                if name is not None and response.status_code < 300:
                    followed[f"{source} -> [{origin.status_code}] {name}"] += 1
                    if followed.keys() == LINKS:
                        raise Done

            def link_to(self, case):
                step = self.recorder.cases[case.id]
                if step.transition is None or not step.is_transition_applied:
                    return None, None, None
                source = self.recorder.cases[step.parent_id].value.operation.label
                name = step.transition.id.split("] ")[1].split(" -> ")[0]
                return source, name, self.recorder.find_response(case_id=step.parent_id)

        with suppress(Done):
            Links.run(settings=settings(SCENARIOS, max_examples=scenarios))
        return followed

    return follow


def references(link, source, row):
    """Apply what a link's description says about the body: the new row refers to the row that the link starts from.

    It also refers to the rows that this row refers to; if such a row does not exist, the request is refused.
    """
    if not link.startswith("create_"):
        return {}
    (origin,) = (o for o in OPERATIONS.values() if f"{o.method} {o.path}" == source)
    parents = RESOURCES[OPERATIONS[link].table].parents
    own = {column: row["id"] for column, parent in parents.items() if parent.table.name == origin.table}
    return {column: row[column] for column in parents if column in row} | own


def test_every_link_is_followed(follow):
    assert follow(100 * len(LINKS)).keys() == LINKS


def test_a_few_scenarios_follow_links(follow):
    assert set() < follow(4).keys() <= LINKS


@pytest.fixture
def start():
    """Starts processes; kills those that still run at the end of the test: they would disturb the next one."""
    with ExitStack() as running:

        def start(*command, **options):
            process = running.enter_context(subprocess.Popen(command, **options))
            running.callback(process.kill)
            return process

        yield start


def test_two_runs_send_the_same(tmp_path, start):
    few = "(fuzzing and POST and users) or few"
    command = [sys.executable, "-m", "pytest", "--assert=plain", "-p", "no:cacheprovider", __file__, "-k", few]
    runs = []
    for seed in ("1", "2"):  # hash seeds, which change the order of Python's sets
        environment = {**os.environ, DIGESTS: str(tmp_path / seed), "PYTHONHASHSEED": seed, "TEST_DATABASE": "sqlite"}
        asked = [*command, f"--basetemp={tmp_path / seed}-temp"]
        runs.append(start(*asked, env=environment, stdout=subprocess.DEVNULL))

    # No time limit: the machine may be busy.
    assert [run.wait() for run in runs] == [0, 0]
    first, second = ((tmp_path / seed).read_text() for seed in ("1", "2"))
    assert first == second
    assert first.count("\n") == 2
