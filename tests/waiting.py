"""Waiting for what a test expects, instead of sleeping."""

import time
from collections.abc import Callable
from typing import Any

import pytest

DEADLINE_S = 240  # a machine that is busy with others is no fault


def wait_for(
    condition: Callable[[], Any],
    what: str,
    deadline_s: float = DEADLINE_S,
    seen: Callable[[], Any] = str,
) -> Any:
    """What `condition` returns once it is true. Fails after the deadline, with what is `seen`."""
    deadline = time.monotonic() + deadline_s
    while (began := time.monotonic()) < deadline:
        if found := condition():
            return found
        # A look that costs much is not to take the cores of what is waited for.
        time.sleep(max(0.05, 2 * (time.monotonic() - began)))
    pytest.fail(f"waited {deadline_s} s for {what}: {seen()}")
