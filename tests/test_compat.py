"""The contract is compatible with its last release, by `contractapp.compat`."""

from pathlib import Path

import yaml

from contractapp import compat

OPENAPI = Path(__file__).parent.parent / "openapi"


def test_the_contract_keeps_its_last_release_or_raises_its_major_version():
    contract = yaml.safe_load((OPENAPI / "openapi.yaml").read_text())
    released = yaml.safe_load(compat.last_release(OPENAPI / "releases").read_text())

    breaking = [change for change in compat.compare(released, contract) if change.breaking]

    assert not breaking or compat.major(contract) > compat.major(released)
