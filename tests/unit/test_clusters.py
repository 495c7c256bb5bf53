"""Looking at jobs again and again without asking their scheduler each time."""

import pytest

from labkit.clusters import Looks
from labkit.errors import LabkitError
from labkit.schedulers.base import Outcome
from labkit.settings import Site

from .fake_lab import FakeScheduler, job_info


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> FakeScheduler:
    scheduler = FakeScheduler()
    scheduler.look_every_s = 60
    monkeypatch.setattr("labkit.clusters.open_cluster", lambda *_: scheduler)
    return scheduler


async def test_a_scheduler_is_asked_as_seldom_as_it_wants(scheduler):
    looks = Looks(Site())
    scheduler.waiting["7"] = job_info("7")
    for _ in range(5):
        assert set((await looks.ask([("here", "7")]))["here"].jobs) == {"7"}
    assert scheduler.looks == 1
    await looks.ask([("here", "8")])  # of which it did not speak yet
    assert scheduler.looks == 2
    looks.forget()
    scheduler.end("7", Outcome.COMPLETED)
    assert (await looks.ask([("here", "7")]))["here"].ends["7"].outcome is Outcome.COMPLETED


async def test_each_look_asks_where_the_answer_is_old(scheduler):
    scheduler.look_every_s = 0
    looks = Looks(Site())
    for _ in range(3):
        await looks.ask([("here", "7")])
    assert scheduler.looks == 3


async def test_silence_is_said_and_asked_about_again(scheduler):
    looks = Looks(Site())
    scheduler.fault = LabkitError("slurmctld is down")
    assert (await looks.ask([("here", "7")]))["here"].silent == "slurmctld is down"
    scheduler.fault = None
    assert (await looks.ask([("here", "7")]))["here"].silent == ""
