"""Names for the tests that Schemathesis generates."""


def pytest_collection_modifyitems(items):
    # With pytest 9.2, all tests that Schemathesis 4.32 generates from one function have the same node id.
    for item in items:
        label = getattr(item, "operation_label", None)
        if label is not None and label not in item.nodeid:
            item._id = item.id.with_params(label)
