"""For the tests of an application of your own: pytest plugins (extra `test`)."""
