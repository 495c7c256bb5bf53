"""One real lab for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.hub.real_lab import RealLab, real_lab

MORE_PROFILES = """
[profiles.small]
title = "Small"
memory = "500 MB"
cores = 1

[profiles.impossible]
title = "Impossible"
memory = "100 TB"
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealLab]:
    with real_lab(RealLab(tmp_path_factory.mktemp("lab"), MORE_PROFILES)) as lab:
        yield lab
