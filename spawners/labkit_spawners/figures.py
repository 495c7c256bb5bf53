"""Counts and times for operators, among the figures of JupyterHub's own `/hub/metrics`.

They are noted where things happen; `figures_now` has what there is at a moment.
"""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from typing import Any, cast

from prometheus_client import Counter, Histogram

from labkit.schedulers.base import JobInfo, Scheduler

_WAITS_S = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 86400)
_STARTS_S = (1, 2, 3, 5, 8, 15, 30, 60, 180)
_CALLS_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)

QUEUE_SECONDS = Histogram(
    "labkit_session_queue_seconds",
    "From a session's submission to the start of its job.",
    ["profile"],
    buckets=_WAITS_S,
)
START_SECONDS = Histogram(
    "labkit_session_start_seconds",
    "From the start of a session's job to its first answer.",
    ["profile"],
    buckets=_STARTS_S,
)
CALL_SECONDS = Histogram(
    "labkit_scheduler_call_seconds",
    "What the hub asked of a scheduler, and whether that was answered.",
    ["cluster", "call", "outcome"],
    buckets=_CALLS_S,
)
ORPHANS_MENDED = Counter(
    "labkit_orphans_mended",
    "What a hub that was killed left and a later one mended: taken up, let go, or ended.",
    ["cluster", "mended"],
)


def session_answered(profile: str, job: JobInfo, answered: datetime) -> None:
    """Note how long a session waited and started, by the scheduler's times of its job.

    The first answer is by the hub's own clock, which may be a little behind the scheduler's.
    """
    if job.started is None:
        return
    QUEUE_SECONDS.labels(profile).observe(max(0.0, (job.started - job.submitted).total_seconds()))
    START_SECONDS.labels(profile).observe(max(0.0, (answered - job.started).total_seconds()))


@contextmanager
def timed(cluster: str, call: str) -> Iterator[None]:
    """Note how long a call takes, and whether it fails."""
    began, outcome = time.monotonic(), "failed"
    try:
        yield
        outcome = "answered"
    finally:
        CALL_SECONDS.labels(cluster, call, outcome).observe(time.monotonic() - began)


def measured(scheduler: Scheduler, cluster: str) -> Scheduler:
    """The same scheduler; each of its calls is noted."""
    return cast(Scheduler, _Measured(scheduler, cluster))


class _Measured:
    def __init__(self, scheduler: Scheduler, cluster: str):
        self._scheduler, self._cluster = scheduler, cluster

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._scheduler, name)
        return self._noted(name, found) if inspect.iscoroutinefunction(found) else found

    def _noted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        async def noted(*given: Any, **named: Any) -> Any:
            with timed(self._cluster, name):
                return await call(*given, **named)

        return noted
