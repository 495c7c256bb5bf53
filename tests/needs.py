"""What a machine may lack: there its tests are skipped, and say why; in CI they fail."""

import os

import pytest


def need(missing: str | None) -> None:
    """Go on where nothing is missing."""
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
