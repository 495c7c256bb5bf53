"""What a person reads: the choice of profiles, where a session is, how it ended."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from labkit.schedulers.base import (
    JobEnd,
    JobInfo,
    JobKind,
    JobResources,
    JobState,
    Outcome,
)
from labkit.settings import Profile
from labkit_spawners.form import describe, memory_in_words, profile_form, time_in_words
from labkit_spawners.words import how_it_ended, where_it_is
from tests.unit.fake_lab import GB, NOW, FakeScheduler, fake_lab, pool

JOB = JobInfo(
    job_id="1",
    name="labkit-session",
    kind=JobKind.SESSION,
    state=JobState.PENDING,
    submitted=NOW,
    resources=JobResources(num_cpus=1, memory_bytes=GB),
)
NOTEBOOK = Profile(title="Notebook", cores=1, memory=4 * GB)
A100 = pool(num_gpus=4, device_name="a100")
ONE_H100 = Profile(title="One H100", gpus=1, device="h100", memory=4 * GB)
IN_DEBUG = Profile(title="Short", partition="debug", memory=4 * GB)
ONE_GPU = Profile(title="One GPU", memory=4 * GB, gpus=1)


@pytest.mark.parametrize(
    ("job", "submitted", "sentence"),
    [
        (None, False, "Handing the session to the scheduler."),
        (None, True, "Asking the scheduler."),
        (JOB, True, "It waits for its turn."),
        (replace(JOB, place=3, reason="Waits for memory."), True, "Place 3 in the queue. Waits "),
        (
            replace(JOB, expected_start=datetime(2026, 11, 23, 14, 5, tzinfo=UTC)),
            True,
            "It waits for its turn. Expected start: 14:05 UTC.",
        ),
        (replace(JOB, state=JobState.RUNNING), True, "The job runs; Jupyter is starting."),
        (replace(JOB, state=JobState.ENDING), True, "The session is ending."),
        (replace(JOB, state=JobState.UNKNOWN), True, "The scheduler does not answer; the session"),
    ],
)
def test_where_a_session_is(job, submitted, sentence):
    assert where_it_is(job, submitted=submitted).startswith(sentence)


@pytest.mark.parametrize("outcome", [None, *Outcome])
def test_each_end_is_a_sentence_that_helps(outcome):
    end = outcome and JobEnd(job_id="1", outcome=outcome, exit_code=1, ended=NOW, reason="It fell.")
    said = how_it_ended(end, "/lab/log.txt")
    if outcome in (None, Outcome.COMPLETED, Outcome.FAILED):
        assert "Try again" in said and "/lab/log.txt" in said
    if outcome is Outcome.FAILED:
        assert "It fell." in said


@pytest.mark.parametrize(
    ("profile", "pools", "free", "possible"),
    [
        (NOTEBOOK, [pool(memory_bytes=16 * GB)], "Free now: 4 of this kind.", True),
        (NOTEBOOK, [pool(memory_bytes=4 * GB)], "Free now.", True),
        (NOTEBOOK, [pool(free_bytes=3 * GB)], "All is in use now: it would wait", True),
        (NOTEBOOK, [pool(memory_bytes=GB)], "Not in this lab: it has not that much memory.", False),
        (ONE_GPU, [pool()], "Not in this lab: it has not that many GPUs.", False),
        (ONE_GPU, [pool(num_gpus=2, free_gpus=1)], "Free now.", True),
        (ONE_GPU, [pool(num_gpus=2, free_gpus=0)], "All is in use now: it would wait", True),
        (ONE_GPU, [pool(num_gpus=1, memory_bytes=GB)], "Not in this lab: it has not that m", False),
        # Each node is in several pools: without its devices, and with each kind of them.
        (NOTEBOOK, [pool(), pool(num_gpus=4)], "Free now: 4 of this kind.", True),
        (ONE_H100, [pool(num_gpus=4, device_name="a100")], "Not in this lab: it has not", False),
        (ONE_H100, [A100, pool(num_gpus=2, device_name="h100")], "Free now: 2 of", True),
        (ONE_GPU, [pool(num_gpus=16, device_name="shard")], "Not in this lab: it has not", False),
        (IN_DEBUG, [pool()], "Not in this lab: it has not", False),
        (IN_DEBUG, [pool(partition="debug", default=False)], "Free now: 4 of", True),
        (NOTEBOOK, [pool(partition="debug", default=False)], "Not in this lab: it has not", False),
        (NOTEBOOK, [pool(max_walltime_s=1800)], "Not in this lab: at most 30 min", False),
        (ONE_GPU, None, "The scheduler does not answer now", True),
    ],
)
def test_what_is_free_now(profile, pools, free, possible):
    choice = describe("x", profile, pools)
    assert choice.free.startswith(free)
    assert choice.possible is possible


def test_what_a_profile_gives():
    gives = describe("x", ONE_GPU.model_copy(update={"time": 5400}), None).gives
    assert gives == "1 GPU · 2 cores · 4 GB · up to 1 h 30 min"
    assert describe("x", NOTEBOOK, None).gives == "1 core · 4 GB · up to 8 hours"
    assert (memory_in_words(GB * 5 // 2), time_in_words(3600)) == ("2.5 GB", "1 hour")


async def page(site, scheduler, profiles, prefilled=None) -> str:
    lab = fake_lab(site, scheduler, profiles)
    return await profile_form(lab.site, lab.watch, prefilled)


def checked(page: str) -> list[str]:
    fields = [part.partition(">")[0] for part in page.split("<input")[1:]]
    return [field.split('value="')[1].split('"')[0] for field in fields if " checked" in field]


async def test_the_first_profile_that_fits_is_chosen(site):
    profiles = {"gpu": ONE_GPU, "notebook": NOTEBOOK}
    scheduler = FakeScheduler()
    assert checked(await page(site, scheduler, profiles)) == ["notebook"]
    assert checked(await page(site, scheduler, profiles, "gpu")) == ["notebook"]
    assert checked(await page(site, scheduler, profiles, "notebook")) == ["notebook"]


async def test_the_page_comes_though_the_scheduler_does_not_answer(site):
    scheduler = FakeScheduler()
    scheduler.fault = TimeoutError("no answer")
    assert "what is free is not known" in await page(site, scheduler, {"notebook": NOTEBOOK})


async def test_texts_of_the_site_are_shown_as_text(site):
    hostile = "<script>alert('x')</script>"
    profiles = {hostile: Profile(title=hostile, description=hostile)}
    shown = await page(site, FakeScheduler(), profiles)
    assert "<script" not in shown and "&lt;script&gt;" in shown
