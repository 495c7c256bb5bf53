"""The order of the tests on the test cluster."""

import pytest

LONGEST = "test_runs.py"
"""As long as all others together; it goes first, and they beside it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name != LONGEST)
