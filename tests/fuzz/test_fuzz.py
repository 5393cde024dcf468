"""Schemathesis in process: requests made from the contract, their answers under every check it has and two of ours.

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
from tests.fuzz.checks import config, resolve
from tests.resources import OPERATIONS, RESOURCES

DIGESTS = "FUZZ_DIGESTS"  # names a file to which each test adds its name and a hash of the requests it sent
# What Hypothesis calls unhealthy is mostly a machine with other things to do.
PATIENT = settings(deadline=None, suppress_health_check=list(HealthCheck))
SCENARIOS = settings(PATIENT, stateful_step_count=12, derandomize=True, database=None)


class Subject:
    """ASGI: one name for whichever application is tested. Schemathesis wants it when the tests are collected."""

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


# The contract is read, as it is served, from an application that has no tables.
subject = Subject(create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": "sqlite://"}))


def contract(phase, max_examples=1):
    return schemathesis.openapi.from_asgi("/api/openapi.json", subject, config=config(phase, max_examples))


by_examples = contract("examples").exclude(tag="health")  # these take nothing that an example could show
by_coverage = contract("coverage")
by_fuzzing = contract("fuzzing", max_examples=50)
by_links = contract("stateful")

LINKS = {
    (operation.label, status, name)
    for operation in (result.ok() for result in by_links.get_all_operations())
    for status, response in operation.definition.raw["responses"].items()
    for name in resolve(by_links.raw_schema, response).get("links", {})
}


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
    """Every link was followed. Hypothesis lets this exception through at once, where it would run any other again."""


@pytest.fixture
def follow(empty):
    """Runs scenarios until every link was followed to a success, at most so many; counts the links that were."""

    def follow(scenarios):
        followed = Counter()

        class Links(by_links.as_state_machine()):
            def setup(self):
                empty()  # Hypothesis calls a scenario flaky that depends on the one before

            def before_call(self, case):
                source, name, origin = self.link_to(case)
                if name is not None and case.meta.generation.mode.is_positive and isinstance(case.body, dict):
                    case.body.update(references(name, source, origin.json()))

            def after_call(self, response, case):
                super().after_call(response, case)
                source, name, origin = self.link_to(case)
                if name is not None and response.status_code < 300:
                    followed[source, str(origin.status_code), name] += 1
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
    """What a link's prose says of the body: a new row refers to the row that the link is from.

    And to those that this one refers to: where such a row does not exist, the link leads to a refusal.
    """
    if not link.startswith("create_"):
        return {}
    (origin,) = (o for o in OPERATIONS.values() if f"{o.method} {o.path}" == source)
    parents = RESOURCES[OPERATIONS[link].table].parents
    own = {column: row["id"] for column, parent in parents.items() if parent.table.name == origin.table}
    return {column: row[column] for column in parents if column in row} | own


def test_every_link_is_followed(follow):
    assert follow(400).keys() == LINKS


def test_a_few_scenarios_follow_links(follow):
    assert set() < follow(4).keys() <= LINKS


@pytest.fixture
def start():
    """Starts processes; those that still run at the end of the test are ended, or they would disturb the next one."""
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
    for seed in ("1", "2"):  # of the hashes that order Python's sets
        environment = {**os.environ, DIGESTS: str(tmp_path / seed), "PYTHONHASHSEED": seed, "TEST_DATABASE": "sqlite"}
        asked = [*command, f"--basetemp={tmp_path / seed}-temp"]
        runs.append(start(*asked, env=environment, stdout=subprocess.DEVNULL))

    # However long they take: the machine may have other things to do.
    assert [run.wait() for run in runs] == [0, 0]
    first, second = ((tmp_path / seed).read_text() for seed in ("1", "2"))
    assert first == second
    assert first.count("\n") == 2
