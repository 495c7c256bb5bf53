"""One real lab for the tests of a module."""

from collections.abc import Iterator

import pytest

from labkit.models.catalogue import add_model, inspect_folder
from tests.hub.real_lab import RealLab, real_lab
from tests.minilm import THIN, save_minilm

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
    """Whose base model is the first layers of the demo's."""
    lab = RealLab(tmp_path_factory.mktemp("lab"), MORE_PROFILES)
    thin = inspect_folder(save_minilm(lab.folder / "thin", THIN), name="minilm")
    add_model(lab.folder / "models", thin.model_copy(update={"title": "all-MiniLM-L6-v2"}))
    with real_lab(lab):
        yield lab
