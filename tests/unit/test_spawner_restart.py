"""The hub ends and starts again: no session is lost, whether it runs or waits."""

import asyncio
from dataclasses import replace

import pytest

from labkit.schedulers.base import JobState, Outcome
from labkit_spawners.asked import SessionFailed
from tests.unit.fake_lab import FakeScheduler, fake_lab, spawner_of, until


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler()


@pytest.fixture
def lab(site, scheduler):
    return fake_lab(site, scheduler)


async def waiting_session(lab, scheduler) -> str:
    """One whose hub has ended while it waited in the queue; its nonce."""
    starting = asyncio.ensure_future(spawner_of(lab).start())
    await until(lambda: scheduler.looks)
    # As a hub does that is asked to end; kill -9 leaves no less.
    starting.cancel()
    await asyncio.wait([starting])
    record = lab.records.get("ana", "")
    assert record is not None and not record.started
    return record.nonce


def after_restart(lab, state=None):
    """The spawner as a new hub makes it: with a new token, and what it had in its database."""
    spawner = spawner_of(lab)
    spawner.api_token = "a new token"
    spawner.load_state(state or {})
    return spawner


async def test_a_hub_that_ends_leaves_what_waits_in_the_queue(lab, scheduler):
    await waiting_session(lab, scheduler)
    assert scheduler.cancelled == []
    assert list(scheduler.waiting) == ["job-1"]


async def test_what_waits_is_detached_until_it_is_started_again(lab, scheduler):
    await waiting_session(lab, scheduler)
    spawner = after_restart(lab)
    # The hub drops its half-made row and ends nothing.
    assert spawner.will_resume
    assert await spawner.poll() == 0
    await spawner.stop()
    assert scheduler.cancelled == []


async def test_start_adopts_the_same_job_with_the_same_token(lab, scheduler):
    nonce = await waiting_session(lab, scheduler)
    spawner = after_restart(lab)
    spawner.clear_state()  # as the hub does before each start
    spawner.api_token = "yet another token"

    def starts():
        scheduler.set("job-1", JobState.RUNNING)
        spawner.port_reported(4711, nonce)

    scheduler.when_asked = starts
    assert await spawner.start() == ("127.0.0.1", 4711)
    assert (spawner.job_id, spawner.api_token) == ("job-1", "token-of-ana")
    assert len(scheduler.submitted) == 1
    assert not spawner.will_resume
    assert await spawner.poll() is None


async def test_an_adopted_session_can_be_stopped(lab, scheduler):
    await waiting_session(lab, scheduler)
    spawner = after_restart(lab)
    starting = asyncio.ensure_future(spawner.start())
    scheduler.looks = 0
    await until(lambda: scheduler.looks)
    await spawner.stop()
    with pytest.raises(SessionFailed, match="was stopped"):
        await starting
    assert "job-1" in scheduler.cancelled and lab.records.all() == []


async def test_a_job_that_ended_meanwhile_is_told(lab, scheduler):
    await waiting_session(lab, scheduler)
    scheduler.end("job-1", Outcome.OUT_OF_MEMORY)
    with pytest.raises(SessionFailed, match="needed more memory"):
        await after_restart(lab).start()
    assert lab.records.all() == []


async def test_a_running_session_is_simply_there(lab, scheduler):
    nonce = await waiting_session(lab, scheduler)
    first = after_restart(lab)
    scheduler.set("job-1", JobState.RUNNING)
    first.port_reported(4711, nonce)
    await first.start()
    spawner = after_restart(lab, first.get_state())
    assert not spawner.will_resume
    assert await spawner.poll() is None
    # Its reports come with the token that the session was given.
    assert spawner.api_token == "token-of-ana"
    await spawner.stop()
    assert scheduler.cancelled == ["job-1"]


async def test_a_start_that_never_got_a_job_is_made_anew(lab, scheduler):
    stale = lab.records.create(
        user="ana", server="", profile="large", cluster="here", api_token="old"
    )
    spawner = after_restart(lab)
    assert not spawner.will_resume
    scheduler.when_asked = lambda: spawner.port_reported(4711, lab.records.get("ana", "").nonce)
    await spawner.start()
    assert len(scheduler.submitted) == 1
    assert not spawner.port_reported(4711, stale.nonce)


async def test_a_damaged_record_keeps_neither_hub_nor_person_from_starting(lab, scheduler):
    await waiting_session(lab, scheduler)
    (file,) = lab.records.folder.rglob("*.json")
    file.write_text("{")
    spawner = after_restart(lab)
    scheduler.when_asked = lambda: spawner.port_reported(4711, lab.records.get("ana", "").nonce)
    assert await spawner.start() == ("127.0.0.1", 4711)
    assert spawner.job_id == "job-2"


def without_its_cluster(lab, site):
    """The same lab, whose operator has renamed the cluster in labkit.toml."""
    (cluster,) = site.clusters.values()
    return replace(lab, site=site.model_copy(update={"clusters": {"another": cluster}}))


async def test_a_session_of_a_cluster_that_the_lab_has_no_more_can_be_stopped(
    site, lab, scheduler, caplog
):
    await waiting_session(lab, scheduler)
    record = lab.records.get("ana", "")
    lab.records.update(record, started=True)
    lab = without_its_cluster(lab, site)
    spawner = after_restart(lab)
    assert await spawner.poll() is None, "that it has ended is not known"
    assert spawner.state_gethost() == ""
    with caplog.at_level("ERROR"):
        await spawner.stop()
    assert "Job job-1 on cluster 'here' could not be cancelled" in caplog.text
    assert lab.records.get("ana", "") is None
    assert scheduler.cancelled == []


async def test_a_session_that_waited_there_is_told_of_and_let_go(site, lab, scheduler):
    await waiting_session(lab, scheduler)
    lab = without_its_cluster(lab, site)
    spawner = after_restart(lab)
    assert await spawner.poll() == 0
    with pytest.raises(SessionFailed, match="'here', which this lab has no more. Start another"):
        await spawner.start()
    assert lab.records.get("ana", "") is None
