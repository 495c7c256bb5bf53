"""However many ask, the scheduler is asked once a second."""

import asyncio
from types import SimpleNamespace

import pytest

from labkit.schedulers.base import Outcome
from labkit.settings import Site
from labkit_spawners import watch as watch_module
from labkit_spawners.session_job import session_job
from labkit_spawners.watch import FRESH_S, JobWatch
from tests.unit.fake_lab import PROFILES, FakeScheduler


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(watch_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler()


async def submit(scheduler: FakeScheduler, site: Site) -> str:
    profile = PROFILES["notebook"]
    job = session_job(site, profile, person="ana", server="", environment={}, nonce="n")
    return await scheduler.submit(job)


async def test_three_hundred_ask_and_the_scheduler_is_asked_once(scheduler, clock, site):
    job_id = await submit(scheduler, site)
    watch = JobWatch(scheduler)
    answers = await asyncio.gather(*(watch.jobs() for _ in range(300)))
    assert scheduler.looks == 1
    assert all(job_id in jobs for jobs in answers)


async def test_an_answer_is_kept_for_a_second(scheduler, clock):
    watch = JobWatch(scheduler)
    await watch.jobs()
    clock.now += FRESH_S / 2
    await watch.jobs()
    assert scheduler.looks == 1
    clock.now += FRESH_S
    await watch.jobs()
    assert scheduler.looks == 2


async def test_after_a_change_of_ours_it_is_asked_anew(scheduler, clock):
    watch = JobWatch(scheduler)
    await watch.jobs()
    watch.forget()
    await watch.jobs()
    assert scheduler.looks == 2


async def test_an_error_is_for_all_who_asked_and_is_not_remembered(scheduler, clock):
    watch = JobWatch(scheduler)
    scheduler.fault = OSError("no answer")
    answers = await asyncio.gather(*(watch.jobs() for _ in range(9)), return_exceptions=True)
    assert {str(answer) for answer in answers} == {"no answer"}
    assert scheduler.looks == 1
    scheduler.fault = None
    assert await watch.jobs() == {}


async def test_one_who_gives_up_takes_the_answer_from_nobody(scheduler, clock):
    watch = JobWatch(scheduler)
    impatient, patient = (asyncio.ensure_future(watch.jobs()) for _ in range(2))
    scheduler.when_asked = impatient.cancel
    assert await patient == {}
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert scheduler.looks == 1


async def test_an_end_needs_evidence(scheduler, clock, site):
    job_id = await submit(scheduler, site)
    watch = JobWatch(scheduler)
    assert await watch.end_of(job_id) is None
    assert await watch.end_of("never-heard-of") is None
    scheduler.end(job_id, Outcome.TIMEOUT)
    end = await watch.end_of(job_id)
    assert end is not None and end.outcome is Outcome.TIMEOUT
