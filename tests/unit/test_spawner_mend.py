"""What a killed hub left is mended on what is seen, and nothing on what is not."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from prometheus_client.registry import REGISTRY

from labkit.schedulers.base import JobKind, JobState, Outcome
from labkit_spawners import mend
from labkit_spawners.mend import Mender
from labkit_spawners.tags import tag_of
from tests.unit.fake_lab import FakeScheduler, fake_lab, job_info


@pytest.fixture
def scheduler() -> FakeScheduler:
    return FakeScheduler()


@pytest.fixture
def lab(site, scheduler):
    return fake_lab(site, scheduler)


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(mend, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def create(lab, user: str = "ana", **state):
    record = lab.records.create(
        user=user,
        server="",
        profile="large",
        cluster="here",
        api_token="secret",
        nonce=lab.tags.new_nonce(),
    )
    return lab.records.update(record, **state)


def put(scheduler, record, job_id="7", **others):
    scheduler.waiting[job_id] = job_info(job_id, tag=tag_of(record.nonce), **others)


async def rounds(lab, clock, count: int = 3, held=()) -> list[tuple[str, str]]:
    """As many as take for what is unknown to be ended."""
    mender, taken_up = Mender(lab), []
    for _ in range(count):
        taken_up += await mender.mend(held)
        clock.now += lab.site.hub.mend_every
    return taken_up


def mended(how: str) -> float:
    """So many, by the hub's own figure."""
    labels = {"cluster": "here", "mended": how}
    return REGISTRY.get_sample_value("labkit_orphans_mended_total", labels) or 0.0


async def test_a_job_that_was_not_noted_is_taken_up(lab, scheduler, clock):
    put(scheduler, create(lab), user="ana")
    before = mended("taken up")
    assert await rounds(lab, clock) == [("ana", "")]
    assert mended("taken up") == before + 1
    assert lab.records.get("ana", "").job_id == "7"
    assert scheduler.cancelled == []


async def test_one_that_is_being_submitted_now_is_left_alone(lab, scheduler, clock):
    put(scheduler, create(lab))
    assert await rounds(lab, clock, held={("ana", "")}) == []
    assert lab.records.get("ana", "").job_id == "" and scheduler.cancelled == []


async def test_another_persons_job_with_that_tag_is_not_taken_up(lab, scheduler, clock):
    put(scheduler, create(lab), user="mallory")
    assert await rounds(lab, clock, 1) == []
    assert lab.records.get("ana", "").job_id == ""


async def test_of_two_jobs_with_one_tag_neither_is_taken_up(lab, scheduler, clock):
    record = create(lab)
    put(scheduler, record, "7", user="ana")
    put(scheduler, record, "8", user="ana")
    assert await rounds(lab, clock) == []
    assert scheduler.cancelled == []


async def test_a_job_whose_session_was_started_anew_is_ended_after_a_while(lab, scheduler, clock):
    put(scheduler, create(lab), user="ana")
    create(lab, job_id="8")
    mender = Mender(lab)
    await mender.mend(())
    clock.now += lab.site.hub.mend_every / 4
    await mender.mend(())
    assert scheduler.cancelled == []
    clock.now += lab.site.hub.mend_every
    await mender.mend(())
    assert scheduler.cancelled == ["7"]


async def test_a_job_whose_record_is_lost_is_ended(lab, scheduler, clock):
    record = create(lab, job_id="7")
    put(scheduler, record, user="ana")
    lab.records.remove(record)
    await rounds(lab, clock)
    assert scheduler.cancelled == ["7"]


@pytest.mark.parametrize(
    "others",
    [
        {"tag": "0" * 32},  # of another hub on the same cluster
        {"tag": ""},
        {"kind": JobKind.RUN},
        {"state": JobState.ENDING},
    ],
)
async def test_no_other_job_is_ended(lab, scheduler, clock, others):
    record = create(lab)
    given = {"tag": tag_of(record.nonce), "user": "ana", "name": "labkit-session", **others}
    scheduler.waiting["7"] = job_info("7", **given)
    lab.records.remove(record)
    await rounds(lab, clock)
    assert scheduler.cancelled == []


async def test_nothing_is_ended_while_a_record_cannot_be_read(lab, scheduler, clock):
    put(scheduler, create(lab, job_id="7"), user="ana")
    (file,) = lab.records.folder.rglob("*.json")
    file.write_text("{")
    await rounds(lab, clock)
    assert scheduler.cancelled == []


async def test_a_session_that_ended_while_no_hub_looked_is_let_go_and_told(lab, scheduler, clock):
    create(lab, job_id="7")
    scheduler.end("7", Outcome.TIMEOUT)
    await rounds(lab, clock)
    assert lab.records.all() == []
    assert "time was over" in lab.records.told("ana", "")


async def test_the_end_of_an_older_job_of_that_number_is_none(lab, scheduler, clock):
    record = create(lab, job_id="7")
    scheduler.end("7", Outcome.TIMEOUT, ended=datetime.now(UTC) - timedelta(days=30))
    await rounds(lab, clock)
    assert lab.records.all() == [record]


async def test_one_that_the_hub_has_in_hand_is_the_spawners_to_let_go(lab, scheduler, clock):
    record = create(lab, job_id="7")
    scheduler.end("7", Outcome.TIMEOUT)
    await rounds(lab, clock, held={("ana", "")})
    assert lab.records.all() == [record]


async def test_a_job_of_which_nothing_is_known_has_not_ended(lab, scheduler, clock):
    noted, unnoted = create(lab, job_id="7"), create(lab, "ben")
    await rounds(lab, clock)
    assert lab.records.all() == [noted, unnoted]


async def test_a_scheduler_that_does_not_answer_changes_nothing(lab, scheduler, clock):
    put(scheduler, create(lab), user="ana")
    put(scheduler, create(lab, "ben"), "8", user="ben")
    scheduler.fault = OSError("no answer")
    assert await rounds(lab, clock) == []
    assert lab.records.get("ana", "").job_id == ""
    scheduler.fault = None
    assert await rounds(lab, clock, 1) == [("ana", ""), ("ben", "")]


async def test_what_pages_show_is_asked_once_before_anybody_comes(lab, scheduler, clock):
    await rounds(lab, clock)
    assert [pool.partition for pool in lab.watch("here").known_pools] == ["local"]
    assert scheduler.asked_rights == [None]
