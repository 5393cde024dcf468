"""Pytest plugins for the tests of your application (extra `test`)."""
