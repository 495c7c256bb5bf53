"""What a person reads: the choice of profiles, where a session is, how it ended."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from labkit.schedulers.base import (
    JobEnd,
    JobInfo,
    JobKind,
    JobResources,
    JobState,
    Outcome,
)
from labkit.settings import Limits, Profile
from labkit_spawners.form import describe, gives_in_words, profile_form
from labkit_spawners.offers import View
from labkit_spawners.words import (
    how_it_ended,
    memory_in_words,
    start_in_words,
    step_of,
    time_in_words,
    where_it_is,
)
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
            replace(JOB, place=4, people_before=3, waits_for="a free h100"),
            True,
            "Place 4 in the queue. Waiting for a free h100: 3 people before you.",
        ),
        (
            replace(JOB, place=2, people_before=1, waits_for="2 free h100"),
            True,
            "Place 2 in the queue. Waiting for 2 free h100: 1 person before you.",
        ),
        (
            replace(JOB, place=2, people_before=0, waits_for="a free GPU"),
            True,
            "Place 2 in the queue. Waiting for a free GPU.",
        ),
        (
            replace(JOB, place=2, stuck=True, reason="Ask for less time."),
            True,
            "It will not start as it is. Ask for less time.",
        ),
        (replace(JOB, state=JobState.RUNNING), True, "The job runs; Jupyter is starting."),
        (replace(JOB, state=JobState.ENDING), True, "The session is ending."),
        (replace(JOB, state=JobState.UNKNOWN), True, "The scheduler does not answer; the session"),
    ],
)
def test_where_a_session_is(job, submitted, sentence):
    assert where_it_is(job, submitted=submitted).startswith(sentence)


def test_an_event_for_the_page_that_waits_and_for_who_has_no_page():
    job = replace(JOB, expected_start=datetime(2026, 11, 23, 14, 5, tzinfo=UTC))
    assert step_of(job, submitted=True) == {
        "message": "It waits for its turn. Expected start: 14:05 UTC.",
        "queue": "It waits for its turn.",
        "expected_start": "2026-11-23T14:05:00+00:00",
        "stuck": False,
    }
    running = replace(JOB, state=JobState.RUNNING)
    assert step_of(running, submitted=True) == {"message": "The job runs; Jupyter is starting."}


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
        (NOTEBOOK, [pool(memory_bytes=4 * GB)], "Free now: 1 of this kind.", True),
        (NOTEBOOK, [pool(free_bytes=3 * GB)], "All is in use now.", True),
        (NOTEBOOK, [pool(memory_bytes=GB)], "Not in this lab: You asked for 4 GB of mem", False),
        (ONE_GPU, [pool()], "Not in this lab: No GPU.", False),
        (ONE_GPU, [pool(num_gpus=2, free_gpus=1)], "1 of 2 GPUs free now.", True),
        (ONE_GPU, [pool(num_gpus=2, free_gpus=0)], "None of 2 GPUs free now.", True),
        (
            ONE_GPU,
            [pool(num_gpus=2, free_bytes=GB)],
            "2 of 2 GPUs free now. It needs more, or more beside them.",
            True,
        ),
        (ONE_GPU, [pool(num_gpus=1, memory_bytes=GB)], "Not in this lab: You asked for", False),
        # Each node is in several pools: without its devices, and with each kind of them.
        (NOTEBOOK, [pool(), pool(num_gpus=4)], "Free now: 4 of this kind.", True),
        (ONE_H100, [pool(num_gpus=4, device_name="a100")], "Not in this lab: No h100. Th", False),
        (ONE_H100, [A100, pool(num_gpus=2, device_name="h100")], "2 of 2 h100 free now.", True),
        (
            ONE_GPU,
            [pool(num_gpus=16, device_name="shard")],
            "Not in this lab: No GPU. There",
            False,
        ),
        (IN_DEBUG, [pool()], "Not in this lab: No partition 'debug' is open", False),
        (IN_DEBUG, [pool(partition="debug", default=False)], "Free now: 4 of", True),
        (
            NOTEBOOK,
            [pool(partition="debug", default=False)],
            "Not in this lab: No partition",
            False,
        ),
        (NOTEBOOK, [pool(max_walltime_s=1800)], "Not in this lab: You asked for 8 hours;", False),
        (ONE_GPU, None, "What is free is not known yet.", True),
    ],
)
def test_what_is_free_now(profile, pools, free, possible):
    choice = describe("x", profile, view(pools), "here", NOW)
    assert choice.free.startswith(free)
    assert choice.possible is possible


def test_what_a_profile_gives():
    def gives(profile: Profile, **changes: object) -> str:
        return gives_in_words(profile.model_copy(update=changes))

    assert gives(ONE_GPU, time=5400) == "1 GPU · 2 cores · 4 GB · up to 1 h 30 min"
    assert gives(NOTEBOOK) == "1 core · 4 GB · up to 8 hours"
    assert gives(ONE_H100, nodes=2, gpus=4).startswith("2 nodes, each with 4 × h100 · 2 cores · ")
    assert gives(ONE_GPU, gpus=2, device="shard").startswith("2 shares of a GPU · ")


def test_amounts_in_words():
    assert memory_in_words(GB * 5 // 2) == "2.5 GB"
    assert memory_in_words(100 * 1024 * GB) == "100 TB"
    said = [time_in_words(seconds) for seconds in (60, 1800, 3600, 86400, 2 * 86400, 5430)]
    assert said == ["1 minute", "30 minutes", "1 hour", "24 hours", "2 days", "1 h 30 min"]


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (timedelta(0), "now"),
        (timedelta(hours=-3), "now"),
        (timedelta(hours=2, minutes=20), "about 14:20"),
        (timedelta(hours=13), "tomorrow, about 01:00"),
        (timedelta(days=2, hours=13), "in 3 days"),
    ],
)
def test_an_expected_start_in_words_of_the_clock_of_whoever_reads(after, words):
    noon = datetime(2026, 11, 23, 12, tzinfo=timezone(timedelta(hours=8)))
    assert start_in_words((noon + after).astimezone(UTC), noon) == words


def view(pools, **changes) -> View:
    given = {
        "pools": {"here": pools},
        "silent": False,
        "known_at": None,
        "access": {},
        "starts": {},
        "limits": Limits(),
        "limits_name": "",
    }
    return View(**{**given, **changes})


async def page(site, scheduler, profiles, prefilled=None) -> str:
    lab = fake_lab(site, scheduler, profiles)
    return await profile_form(lab.offers, "ana", {"profile": prefilled})


def checked(page: str) -> list[str]:
    fields = [part.partition(">")[0] for part in page.split("<input")[1:]]
    return [field.split('value="')[1].split('"')[0] for field in fields if "checked" in field]


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
