"""The service does what the model does, in random sequences of requests (`model.py`).

Every day a few sequences, always the same; with `MODEL_SECONDS` as many as there is time for, with fresh seeds
(`tox -e fuzz`). Hypothesis prints a failing sequence as a program, shortened as far as it still fails.
"""

import os
import time
from copy import deepcopy
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz.model import Model

SECONDS = float(os.environ.get("MODEL_SECONDS", "0"))
PATIENT = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), stateful_step_count=40)

# A fault is to be found, not to be shown with the shortest sequence.
FAULTY = settings(PATIENT, max_examples=200, derandomize=True, report_multiple_bugs=False, phases=[Phase.generate])


@pytest.fixture
def run(client, empty):
    """Runs the model with these settings; `ask` may stand for another service than the one under test."""

    def run(given, ask=client.request):
        machine = type("Compared", (Model,), {"ask": staticmethod(ask), "empty": staticmethod(empty)})
        run_state_machine_as_test(machine, settings=given)

    return run


def test_the_service_does_what_the_model_does(run):
    run(settings(PATIENT, max_examples=20, derandomize=True))


@pytest.mark.skipif(not SECONDS, reason="takes MODEL_SECONDS, which are not set")
def test_the_service_does_what_the_model_does_for_long(run):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        run(settings(PATIENT, max_examples=20))


# Faults of a service that the model must notice: each changes one request or one answer.
FAULTS = {
    "a stale change is carried out": lambda method, path, request: request.get("headers", {}).pop("If-Match", None),
    "a repetition is carried out": lambda method, path, request: request.get("headers", {}).pop(
        "Idempotency-Key", None
    ),
    "no answer is a 304": lambda method, path, request: request.get("headers", {}).pop("If-None-Match", None),
    "a change of the content is lost": lambda method, path, request: (
        request.get("json", {}).pop("content", None)
        if method == "PUT" and "posts" in path and len(request["json"]) > 1
        else None
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.unrecorded("the service under test is changed on purpose")
def test_the_model_notices_a_fault(run, client, fault):
    def ask(method, path, **request):
        request = deepcopy(request)  # the model uses the same objects
        fault(method, path, request)
        return client.request(method, path, **request)

    with pytest.raises(AssertionError):
        run(FAULTY, ask)


@pytest.mark.unrecorded("the service under test is changed on purpose")
def test_the_model_notices_a_tag_that_stays(run, client):
    def ask(method, path, **request):
        answer = client.request(method, path, **request)
        if "etag" not in answer.headers:
            return answer
        headers = {**answer.headers, "etag": answer.headers["etag"].split("-")[0].rstrip('"') + '"'}
        return SimpleNamespace(
            status_code=answer.status_code, headers=headers, content=answer.content, text=answer.text, json=answer.json
        )

    with pytest.raises(AssertionError):
        run(FAULTY, ask)
