"""Names for the tests that Schemathesis makes."""


def pytest_collection_modifyitems(items):
    # Under pytest 9.2 the tests of all operations that Schemathesis 4.32 makes of one function share its node id.
    for item in items:
        label = getattr(item, "operation_label", None)
        if label is not None and label not in item.nodeid:
            item._id = item.id.with_params(label)
