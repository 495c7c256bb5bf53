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
    every_s: float = 0.05,
) -> Any:
    """What `condition` returns once it is true. Fails after the deadline, with what is `seen`.

    A whole command as the condition is asked less often: it takes the cores of what it waits for.
    """
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(every_s)
    pytest.fail(f"waited {deadline_s} s for {what}: {seen()}")
