"""One question to a scheduler for all sessions, however many ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from labkit.schedulers.base import JobEnd, JobInfo, Pool, Scheduler

T = TypeVar("T")

SOONER = 10
"""After a change of ours the next question may come this many times sooner."""


class Shared(Generic[T]):
    """An answer that all share who ask within `fresh_s` seconds."""

    def __init__(self, ask: Callable[[], Awaitable[T]], fresh_s: float):
        self._ask = ask
        self._fresh_s = fresh_s
        self._asked_at = float("-inf")
        self._outdated = False
        self._answer: asyncio.Future[T] | None = None

    async def get(self) -> T:
        """The answer, not older than `fresh_s`. Raises what the question raises, to all."""
        if self._answer is None or (self._answer.done() and self._is_old()):
            self._answer = asyncio.ensure_future(self._after_a_pause())
        return await asyncio.shield(self._answer)

    def outdate(self) -> None:
        """What was answered until now does not count any more."""
        self._outdated = True

    def _is_old(self) -> bool:
        assert self._answer is not None
        age_s = time.monotonic() - self._asked_at
        return self._outdated or age_s > self._fresh_s or self._answer.exception() is not None

    async def _after_a_pause(self) -> T:
        """So that many changes at once are still few questions."""
        pause_s = self._fresh_s / SOONER - (time.monotonic() - self._asked_at)
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        self._asked_at = time.monotonic()
        self._outdated = False
        return await self._ask()


@dataclass(frozen=True)
class Look:
    """What a scheduler said at one moment."""

    jobs: Mapping[str, JobInfo]
    ends: Mapping[str, JobEnd]


class JobWatch:
    """The jobs of one cluster; each of the questions at most as often as is worth it."""

    def __init__(self, scheduler: Scheduler):
        self.scheduler = scheduler
        self._looks = Shared(self._look, scheduler.look_every_s)
        self._pools = Shared(scheduler.capacity, scheduler.look_every_s)
        self._followed: dict[str, JobEnd | None] = {}

    async def job(self, job_id: str) -> JobInfo | JobEnd | None:
        """The job, or how it ended; None where the scheduler knows neither: that is no end.

        Raises what the scheduler raises; then nothing is known.
        """
        self._followed.setdefault(job_id, None)
        look = await self._looks.get()
        return look.jobs.get(job_id) or look.ends.get(job_id)

    async def jobs(self) -> Mapping[str, JobInfo]:
        """All jobs of ours that the scheduler has. That one is not among them proves nothing."""
        return (await self._looks.get()).jobs

    async def pools(self) -> Sequence[Pool]:
        return await self._pools.get()

    def outdate(self) -> None:
        """After a change of ours, the next question is asked anew."""
        self._looks.outdate()
        self._pools.outdate()

    def let_go(self, job_id: str) -> None:
        """Nobody asks for that job any more."""
        self._followed.pop(job_id, None)

    async def _look(self) -> Look:
        jobs = await self.scheduler.jobs()
        gone = [i for i, end in self._followed.items() if end is None and i not in jobs]
        if gone:
            ends = await self.scheduler.ended(gone)
            self._followed.update({i: end for i, end in ends.items() if i in self._followed})
        return Look(jobs, {i: end for i, end in self._followed.items() if end is not None})
