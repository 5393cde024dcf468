"""What a run has to reach, whatever the clock says, and what it did reach."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tests.resources import OPERATIONS, Operation

SCENARIOS = 5  # in which a link leads to a success
REQUESTS = 20  # made up for an operation that takes any input


class Reached(NamedTuple):
    """What was sent so far."""

    requests: Counter[tuple[str, str]]
    """The number of requests by phase and operation, such as `("fuzzing", "GET /users")`."""
    links: Counter[str]
    """The number of scenarios in which a link led to a success, such as `POST /users -> [201] delete_user`."""

    def add(self, observed: Mapping[str, Any]) -> None:
        """Add what a run of `observed.py` wrote."""
        for phase, sent in observed["requests"].items():
            self.requests.update({(phase, operation): number for operation, number in sent.items()})
        self.links.update(observed["links"])

    def missing_requests(self) -> Iterator[str]:
        """A line for each phase and operation with too few requests."""
        for operation in OPERATIONS.values():
            for phase, least in _least(operation).items():
                sent = self.requests[phase, _label(operation)]
                if sent < least:
                    yield f"{phase}: {_label(operation)} ({sent} of {least} requests)"

    def missing_links(self) -> Iterator[str]:
        """A line for each link with too few scenarios."""
        for link in links():
            if self.links[link] < SCENARIOS:
                yield f"stateful: {link} ({self.links[link]} of {SCENARIOS} scenarios)"


def links() -> Iterator[str]:
    """The links of the contract, in the words of Schemathesis."""
    for operation in OPERATIONS.values():
        for status, response in operation.definition["responses"].items():
            for name in response.get("links", {}):
                yield f"{_label(operation)} -> [{status}] {name}"


def _label(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def _least(operation: Operation) -> dict[str, int]:
    """The number of requests in each phase. Without any input there are no examples, and all requests are equal."""
    if operation.parameters or operation.bodies:
        return {"examples": 1, "coverage": 1, "fuzzing": REQUESTS}
    return {"coverage": 1, "fuzzing": 1}
