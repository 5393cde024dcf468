"""Plugins of all tests: the ledger holds every response of the run against the contract, `ask` sends raw bytes."""

pytest_plugins = ["contractapp.testing.ledger", "contractapp.testing.exchange"]
