"""However many ask, the scheduler is asked once in a while."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.schedulers.base import Access, JobEnd, JobInfo, Outcome
from labkit.settings import Site
from labkit_spawners import watch as watch_module
from labkit_spawners.session_job import session_job
from labkit_spawners.watch import AT_ONCE_S, JobWatch
from tests.unit.fake_lab import PROFILES, FakeScheduler

FRESH_S = 5.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time passes where a test says so, and where the watch pauses."""
    clock = SimpleNamespace(now=100.0, pauses=[])

    async def pause(seconds: float) -> None:
        clock.pauses.append(seconds)
        clock.now += seconds

    monkeypatch.setattr(watch_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    asyncio_here = SimpleNamespace(**{**vars(asyncio), "sleep": pause})
    monkeypatch.setattr(watch_module, "asyncio", asyncio_here)
    return clock


@pytest.fixture
def scheduler() -> FakeScheduler:
    scheduler = FakeScheduler()
    scheduler.look_every_s = FRESH_S
    return scheduler


async def submit(scheduler: FakeScheduler, site: Site) -> str:
    profile = PROFILES["notebook"]
    job = session_job(site, profile, person="ana", server="", environment={}, nonce="n")
    return await scheduler.submit(job)


async def test_three_hundred_ask_and_the_scheduler_is_asked_once(scheduler, clock, site):
    job_id = await submit(scheduler, site)
    watch = JobWatch(scheduler)
    answers = await asyncio.gather(*(watch.job(job_id) for _ in range(300)))
    assert scheduler.looks == 1
    assert all(isinstance(answer, JobInfo) for answer in answers)


async def test_the_ends_of_all_are_one_question_too(scheduler, clock, site):
    jobs = [await submit(scheduler, site) for _ in range(30)]
    watch = JobWatch(scheduler)
    for job_id in jobs:
        scheduler.end(job_id, Outcome.TIMEOUT)
    answers = await asyncio.gather(*(watch.job(job_id) for job_id in jobs))
    assert scheduler.asked_ends == [sorted(jobs)]
    assert all(isinstance(answer, JobEnd) for answer in answers)
    clock.now += 2 * FRESH_S
    assert await watch.job(jobs[0]) == answers[0]
    assert len(scheduler.asked_ends) == 1, "what has ended is not asked for again"


async def test_an_answer_is_kept_as_long_as_it_is_worth(scheduler, clock):
    watch = JobWatch(scheduler)
    await watch.job("any")
    clock.now += FRESH_S / 2
    await watch.job("any")
    assert scheduler.looks == 1
    clock.now += FRESH_S
    await watch.job("any")
    assert scheduler.looks == 2


async def test_after_a_change_of_ours_it_is_asked_anew(scheduler, clock):
    watch = JobWatch(scheduler)
    await watch.job("any")
    clock.now += FRESH_S / 2
    watch.outdate()
    await watch.job("any")
    assert scheduler.looks == 2


async def test_a_hundred_changes_in_a_second_are_few_questions(scheduler, clock):
    watch = JobWatch(scheduler)
    started = clock.now
    for _ in range(100):
        watch.outdate()
        await watch.job("any")
    assert (clock.now - started) / scheduler.looks == pytest.approx(AT_ONCE_S, rel=0.02)


def most_in_a_minute(asked: list[float]) -> int:
    return max(sum(since <= when < since + 60 for when in asked) for since in asked)


@pytest.fixture
def asked(scheduler: FakeScheduler, clock: SimpleNamespace, monkeypatch) -> list[float]:
    """When each query of a scheduler like Slurm was: 12 a minute at most."""
    asked: list[float] = []
    scheduler.look_every_s, scheduler.queries_a_minute = 15.0, 12
    costs = {"jobs": 1, "ended": 1, "capacity": 2, "rights": 3, "expected_start": 1}
    for name, queries in costs.items():
        ask = getattr(scheduler, name)

        async def call(*given, ask=ask, queries=queries):
            asked.extend([clock.now] * queries)
            return await ask(*given)

        monkeypatch.setattr(scheduler, name, call)
    return asked


@pytest.mark.parametrize("people", [10, 1000])
async def test_no_minute_has_more_than_twelve_queries(people, scheduler, clock, asked, site):
    """A class starts, ends and starts again, while everybody looks at the page."""
    watch = JobWatch(scheduler)
    jobs: list[str] = []
    started = clock.now
    while clock.now < started + 300:
        clock.now += 0.3
        if len(jobs) < people:
            jobs.append(await submit(scheduler, site))
        else:
            scheduler.end(jobs[0], Outcome.COMPLETED)
            watch.let_go(jobs.pop(0))
        watch.outdate()
        pages = [watch.access(f"person{number}", ()) for number in range(people)]
        await asyncio.gather(watch.pools(), *pages, *(watch.job(job_id) for job_id in jobs))
        if len(scheduler.asked_starts) < (clock.now - started) // 60:
            await watch.expected_start(scheduler.submitted[-1])
        scheduler.end(jobs[-1], Outcome.TIMEOUT)
    assert 10 <= most_in_a_minute(asked) <= 12
    assert len(scheduler.asked_starts) >= 4


async def test_the_rights_of_all_people_are_one_question(scheduler, clock, asked):
    watch = JobWatch(scheduler)
    scheduler.allowed = Access(partitions=["gpu"])
    mine = await asyncio.gather(*(watch.access(f"person{n}", ()) for n in range(300)))
    assert {tuple(access.partitions) for access in mine} == {("gpu",)}
    assert scheduler.asked_rights == [None]


async def test_when_it_would_start_is_asked_when_sessions_need_no_question(
    scheduler, clock, asked, site
):
    watch = JobWatch(scheduler)
    for _ in range(3):  # a class starts
        await watch.job("any")
        watch.outdate()
    began = clock.now
    await submit(scheduler, site)
    await watch.expected_start(scheduler.submitted[0])
    assert clock.now - began > 10, "it waited for the questions to come back"


@pytest.mark.parametrize("others", [0, 999])
async def test_who_starts_alone_does_not_wait(others, scheduler, clock, asked, site):
    watch = JobWatch(scheduler)
    jobs = [await submit(scheduler, site) for _ in range(others + 1)]
    for _ in range(120):  # sessions run, and somebody looks at the page
        clock.now += 1
        await asyncio.gather(watch.pools(), *(watch.job(job_id) for job_id in jobs))
    pressed = clock.now
    jobs.append(await submit(scheduler, site))
    for _ in range(2):  # it was submitted; it says its port
        watch.outdate()
        await asyncio.gather(watch.pools(), watch.job(jobs[-1]))
        clock.now += 1
    assert sum(when >= pressed for when in asked) >= 2
    assert clock.now - pressed < 2 + 3 * AT_ONCE_S
    assert most_in_a_minute(asked) <= 12


class Hours:
    """Time passes as a test says; whoever pauses in it meanwhile goes on at their moment."""

    def __init__(self, clock: SimpleNamespace) -> None:
        self.clock = clock
        self._paused: list[tuple[float, asyncio.Event]] = []

    async def pause(self, seconds: float) -> None:
        over = asyncio.Event()
        self._paused.append((self.clock.now + seconds, over))
        await over.wait()

    async def go_by(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while True:
            for _ in range(100):  # all who can go on do
                await asyncio.sleep(0)
            self._paused.sort(key=lambda each: each[0])
            if not self._paused or self._paused[0][0] > until:
                break
            self.clock.now, over = self._paused.pop(0)
            over.set()
        self.clock.now = until


@pytest.fixture
def hours(clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Hours:
    hours = Hours(clock)
    monkeypatch.setattr(watch_module.asyncio, "sleep", hours.pause)
    return hours


@pytest.mark.parametrize("quiet_s", [4, 3600])
async def test_who_looks_at_the_page_of_a_quiet_hub_and_then_starts_does_not_wait(
    quiet_s, scheduler, hours, asked, site
):
    """Just after the hub's start, and when all that it knows is old."""
    watch = JobWatch(scheduler)
    await watch.jobs()
    await watch.prepare()
    await hours.go_by(quiet_s)
    page = asyncio.gather(watch.pools(), watch.access("ana", ()))
    await hours.go_by(4)

    async def start() -> None:
        job = await submit(scheduler, site)
        for _ in range(2):  # it was submitted; a second later it says its port
            watch.outdate()
            await watch.job(job)
            await hours.pause(1)

    started = asyncio.ensure_future(start())
    await hours.go_by(2 + 2 * AT_ONCE_S)
    assert started.done()
    await hours.go_by(60)
    assert page.done() and len(scheduler.asked_rights) == (2 if quiet_s > 60 else 1)
    assert most_in_a_minute(asked) <= 12


async def test_who_may_name_what_is_known_in_time_though_sessions_come_and_go(
    scheduler, hours, asked
):
    watch = JobWatch(scheduler)
    named = asyncio.ensure_future(watch.access("ana", ()))
    going: list[asyncio.Future[Any]] = []
    for _ in range(40):
        watch.outdate()
        going.append(asyncio.ensure_future(watch.job("any")))
        await hours.go_by(3)
    assert scheduler.asked_rights == [None] and named.done()
    assert most_in_a_minute(asked) <= 12
    await asyncio.gather(*going)


async def test_the_pools_are_as_they_were_while_sessions_need_the_questions(
    scheduler, clock, asked, site
):
    watch = JobWatch(scheduler)
    before = await watch.pools()
    scheduler.pools = []
    for _ in range(3):
        watch.outdate()
        await watch.job("any")
    watch.outdate()
    assert await watch.pools() is before
    clock.now += 60
    assert await watch.pools() is not before


async def test_an_error_is_for_all_who_asked_and_is_not_remembered(scheduler, clock):
    watch = JobWatch(scheduler)
    scheduler.fault = OSError("no answer")
    answers = await asyncio.gather(*(watch.job("any") for _ in range(9)), return_exceptions=True)
    assert {str(answer) for answer in answers} == {"no answer"}
    assert scheduler.looks == 1
    scheduler.fault = None
    assert await watch.job("any") is None


async def test_one_who_gives_up_takes_the_answer_from_nobody(scheduler, clock):
    watch = JobWatch(scheduler)
    impatient, patient = (asyncio.ensure_future(watch.job("any")) for _ in range(2))
    scheduler.when_asked = impatient.cancel
    assert await patient is None
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert scheduler.looks == 1


async def test_an_end_needs_evidence(scheduler, clock, site):
    job_id = await submit(scheduler, site)
    watch = JobWatch(scheduler)
    assert isinstance(await watch.job(job_id), JobInfo)
    assert await watch.job("never-heard-of") is None
    scheduler.end(job_id, Outcome.TIMEOUT)
    clock.now += 2 * FRESH_S
    end = await watch.job(job_id)
    assert isinstance(end, JobEnd) and end.outcome is Outcome.TIMEOUT


async def test_the_end_of_an_older_job_of_that_number_is_none(scheduler, clock):
    watch, now = JobWatch(scheduler), datetime.now(UTC)
    scheduler.end("7", Outcome.TIMEOUT, ended=now - timedelta(days=30))
    assert await watch.job("7", now.timestamp()) is None
    scheduler.end("7", Outcome.COMPLETED, ended=now)
    clock.now += 2 * FRESH_S
    end = await watch.job("7", now.timestamp())
    assert isinstance(end, JobEnd) and end.outcome is Outcome.COMPLETED


async def test_nobody_asks_for_a_job_that_was_let_go(scheduler, clock):
    watch = JobWatch(scheduler)
    await watch.job("old")
    watch.let_go("old")
    clock.now += 2 * FRESH_S
    await watch.job("new")
    assert scheduler.asked_ends == [["old"], ["new"]]
