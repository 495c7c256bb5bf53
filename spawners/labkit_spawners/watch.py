"""One question to a scheduler for all sessions, however many ask."""

import asyncio
import time
from collections.abc import Mapping

from labkit.schedulers.base import JobEnd, JobInfo, Scheduler

FRESH_S = 1.0


class JobWatch:
    """The jobs of one cluster, looked up at most once a second.

    Whoever asks while a look is under way shares its answer.
    """

    def __init__(self, scheduler: Scheduler):
        self.scheduler = scheduler
        self._looked_at = float("-inf")
        self._look: asyncio.Task[Mapping[str, JobInfo]] | None = None

    async def jobs(self) -> Mapping[str, JobInfo]:
        """All that wait or run, by id. Raises what the scheduler raises; then nothing is known."""
        expired = time.monotonic() - self._looked_at > FRESH_S
        if self._look is None or (self._look.done() and (expired or self._look.exception())):
            self._looked_at = time.monotonic()
            self._look = asyncio.ensure_future(self.scheduler.jobs())
        return await asyncio.shield(self._look)

    async def end_of(self, job_id: str) -> JobEnd | None:
        """How the job ended; None where it has not, or where nobody knows."""
        return (await self.scheduler.ended([job_id])).get(job_id)

    def forget(self) -> None:
        """After a change of ours, the next question is asked anew."""
        self._looked_at = float("-inf")
