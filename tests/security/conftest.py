"""One lab on the test cluster for all attacks of a module, and two people with sessions."""

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import SlurmCluster
from tests.slurm.slurm_lab import SlurmLab


@pytest.fixture(scope="module")
def lab(cluster: SlurmCluster) -> Iterator[SlurmLab]:
    with SlurmLab(cluster).running() as lab:
        yield lab
