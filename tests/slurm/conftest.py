"""One real Slurm cluster for the tests of this folder."""

import os
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import SlurmCluster, why_not


@pytest.fixture(scope="session")
def cluster() -> Iterator[SlurmCluster]:
    """Up once. A machine that cannot run it skips these tests, but not in CI."""
    if reason := why_not():
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with SlurmCluster().running() as cluster:
        yield cluster
