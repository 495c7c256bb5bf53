"""One question to a scheduler for all sessions, however many ask."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from tornado.log import app_log

from labkit.schedulers.base import Access, JobEnd, JobInfo, JobSpec, Pool, Rights, Scheduler

T = TypeVar("T")

SUBMIT_AT_ONCE = 4
"""Each submission is a process on the hub's machine: a class that starts must not crowd it out."""
SOONER = 10
"""After a change of ours the next question may come this many times sooner."""
AT_ONCE_S = 0.5
"""And never later than so, while there are questions left."""
CLOCKS_APART_S = 300.0
POOLS_EVERY = 4
"""Where jobs could run changes less than they do."""
POOLS_COST = 2
"""Nodes and partitions."""
RIGHTS_EVERY = 20
"""Who may name what changes seldom; the scheduler itself decides when a job is submitted."""
RIGHTS_COST = 3
"""Partitions, reservations and associations."""
OF_A_START = 2
"""Where the job is once it was submitted, and where it runs when the session says its port."""
PAGES_WAIT_S = 20.0
"""For each question, until it is asked though it leaves fewer for a start."""


class Budget:
    """So many queries in any minute at most, whatever happens: some at once, the rest spread.

    A third may be asked at once, so that nobody who starts alone waits for it. One may be owed:
    whether an answer calls for another question is not known before.
    """

    def __init__(self, a_minute: int):
        self.most = a_minute / 3
        self._a_second = (a_minute - self.most - 1) / 60
        self._left, self._since = self.most, time.monotonic()
        self._turn = asyncio.Lock()

    def left(self) -> float:
        now = time.monotonic()
        self._left = min(self.most, self._left + (now - self._since) * self._a_second)
        self._since = now
        return self._left

    def owe(self, queries: int) -> None:
        self._left = self.left() - queries

    async def spend(self) -> None:
        """Wait until there is one, in turn, and take it."""
        async with self._turn:
            await self._wait_for(1)
            self.owe(1)

    async def spend_spare(self, queries: int, keep: float, patience_s: float = math.inf) -> None:
        """Take so many, each when it leaves as many as `keep`; after `patience_s` in its turn."""
        for _ in range(queries):
            await self._wait_for(1 + keep, time.monotonic() + patience_s)
            await self.spend()

    async def _wait_for(self, queries: float, until: float = math.inf) -> None:
        # What is owed meanwhile is waited for, too.
        while (missing := queries - self.left()) > 1e-9:
            if (over := until - self._since) <= 0:
                return
            await asyncio.sleep(min(missing / self._a_second, over))


async def _nothing() -> None:
    pass


class Shared(Generic[T]):
    """An answer that all share who ask within `fresh_s` seconds."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[T]],
        fresh_s: float,
        pay: Callable[[], Awaitable[None]] = _nothing,
    ):
        """`pay` is awaited before each question: changes until then are answered by it, too."""
        self._ask = ask
        self._pay = pay
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
        apart_s = min(self._fresh_s / SOONER, AT_ONCE_S)
        pause_s = apart_s - (time.monotonic() - self._asked_at)
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        await self._pay()
        self._asked_at = time.monotonic()
        self._outdated = False
        return await self._ask()


class LastKnown(Generic[T]):
    """What was answered last, at once; a newer answer is for those who ask later.

    Nobody waits for a scheduler that is slow, and none is asked for whom nobody waits.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]]):
        """`ask` is asked at each look: let its answer be `Shared`."""
        self._ask = ask
        self._asking: asyncio.Task[None] | None = None
        self.answer: T | None = None
        self.answered: datetime | None = None
        self.fails = False
        """Whether the last question had no answer."""

    async def get(self, within_s: float) -> T | None:
        """The newest answer that there is within that time; None where there never was one."""
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask_once())
        await asyncio.wait([self._asking], timeout=within_s)
        return self.answer

    async def _ask_once(self) -> None:
        try:
            self.answer = await self._ask()
            self.answered, self.fails = datetime.now(UTC), False
        except Exception as error:  # those who look are told that it is not known
            app_log.warning("No answer for the page: %s", error)
            self.fails = True
        finally:
            self._asking = None


def is_end_since(end: JobEnd, since: float) -> bool:
    """Not that of an older job: schedulers give the same ids again when they count anew.

    `since` is in seconds since the epoch; the clocks of two machines may differ a little.
    """
    return end.ended.timestamp() >= since - CLOCKS_APART_S


@dataclass(frozen=True)
class Look:
    """What a scheduler said at one moment."""

    jobs: Mapping[str, JobInfo]
    ends: Mapping[str, JobEnd]


class JobWatch:
    """The jobs of one cluster; each of the questions at most as often as is worth it.

    All together are never more than the scheduler's `queries_a_minute`.
    """

    def __init__(self, scheduler: Scheduler):
        self.scheduler = scheduler
        self.submitting = asyncio.Semaphore(SUBMIT_AT_ONCE)
        self._budget = Budget(scheduler.queries_a_minute)
        every_s = scheduler.look_every_s
        self._looks = Shared(self._look, every_s, self._budget.spend)
        self._pools = Shared(self._ask_pools, POOLS_EVERY * every_s, self._pay_for_pools)
        self._rights = Shared(
            self._ask_rights, RIGHTS_EVERY * every_s, lambda: self._pay_for_page(RIGHTS_COST)
        )
        self._page = LastKnown(lambda: asyncio.gather(self._pools.get(), self._rights.get()))
        self._followed: dict[str, float] = {}
        """By job id, since when an end counts as its own, in seconds since the epoch."""
        self._ends: dict[str, JobEnd] = {}
        """Of those, how they ended."""
        self.known_jobs: Mapping[str, JobInfo] = {}
        self.known_pools: Sequence[Pool] = ()
        """As they were answered last."""
        self._known_rights: Rights | None = None

    async def job(self, job_id: str, since: float = 0.0) -> JobInfo | JobEnd | None:
        """The job, or how it ended; None where the scheduler knows neither: that is no end.

        `since`: when it was not yet submitted, in seconds since the epoch. Raises what the
        scheduler raises; then nothing is known.
        """
        self._followed[job_id] = since
        look = await self._looks.get()
        return look.jobs.get(job_id) or look.ends.get(job_id)

    async def jobs(self) -> Mapping[str, JobInfo]:
        """All jobs of ours that the scheduler has. That one is not among them proves nothing."""
        return (await self._looks.get()).jobs

    async def pools(self) -> Sequence[Pool]:
        """Where jobs could run; as it was last, while sessions need the questions that are left."""
        if self.known_pools and not self._has_spare():
            return self.known_pools
        return await self._pools.get()

    async def ended(self, job_ids: Collection[str]) -> Mapping[str, JobEnd]:
        """How those ended that have ended; asked anew."""
        await self._budget.spend()
        return await self.scheduler.ended(job_ids)

    async def access(self, person: str, groups: Collection[str]) -> Access:
        """What that person may name there; one question serves all people, as with the pools."""
        if self._known_rights and not self._has_spare():
            return self._known_rights(person, groups)
        return (await self._rights.get())(person, groups)

    async def prepare(self) -> None:
        """Have it asked what pages show, so that the first who comes finds it known."""
        if not self.known_pools:
            await self._page.get(within_s=0)

    async def expected_start(self, job: JobSpec) -> datetime | None:
        """When it would start, asked when nobody's session needs the question.

        Raises UsageError where it can never start.
        """
        await self._budget.spend_spare(1, keep=self._budget.most - 1)
        return await self.scheduler.expected_start(job)

    def outdate(self) -> None:
        """After a change of ours, the next question is asked anew."""
        self._looks.outdate()
        self._pools.outdate()

    def let_go(self, job_id: str) -> None:
        """Nobody asks for that job any more."""
        self._followed.pop(job_id, None)
        self._ends.pop(job_id, None)

    def _has_spare(self) -> bool:
        return self._budget.left() >= self._budget.most

    async def _pay_for_page(self, queries: int) -> None:
        """Who looks at a page presses its button next: that finds the questions that it needs."""
        keep = min(OF_A_START, self._budget.most - 1)
        await self._budget.spend_spare(queries, keep, PAGES_WAIT_S)

    async def _pay_for_pools(self) -> None:
        if self.known_pools:
            await self._pay_for_page(POOLS_COST)
        else:  # a start needs them too
            await self._budget.spend_spare(POOLS_COST, keep=0)

    async def _ask_rights(self) -> Rights:
        self._known_rights = await self.scheduler.rights()
        return self._known_rights

    async def _ask_pools(self) -> Sequence[Pool]:
        self.known_pools = await self.scheduler.capacity()
        return self.known_pools

    async def _look(self) -> Look:
        jobs = self.known_jobs = await self.scheduler.jobs()
        gone = [i for i in self._followed if i not in jobs and i not in self._ends]
        if gone:
            self._budget.owe(1)
            ends = await self.scheduler.ended(gone)
            for job_id, end in ends.items():
                since = self._followed.get(job_id)
                if since is not None and is_end_since(end, since):
                    self._ends[job_id] = end
        return Look(jobs, dict(self._ends))
