"""The page comes at once with what is known, whatever the scheduler does."""

import asyncio
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from labkit.errors import LabkitError
from labkit.schedulers.base import Access, Pool
from labkit.settings import Limits, Profile
from labkit_spawners import permission
from labkit_spawners.form import profile_form
from tests.unit.fake_lab import GB, FakeScheduler, fake_lab, pool, until

GPU = {"gpu": Profile(title="One GPU", gpus=1, device="h100", memory=GB, cores=1)}
BUSY = pool(num_gpus=4, free_gpus=0, device_name="h100")


class SlowScheduler(FakeScheduler):
    """It answers when it is let to."""

    def __init__(self, *pools: Pool):
        super().__init__()
        self.pools = list(pools)
        self.answers = asyncio.Event()

    async def capacity(self):
        await self.answers.wait()
        return await super().capacity()


async def test_a_page_waits_for_no_scheduler(site):
    scheduler = SlowScheduler(pool(num_gpus=4, device_name="h100"))
    offers = fake_lab(site, scheduler, GPU).offers
    began = time.monotonic()
    page = await profile_form(offers, "ana", {})
    assert time.monotonic() - began < 0.2
    assert "What is free is not known yet." in page

    scheduler.answers.set()
    await until(lambda: offers._pools["here"].answer)
    assert "4 of 4 h100 free now." in await profile_form(offers, "ana", {})

    scheduler.fault = TimeoutError("no answer")
    async with asyncio.timeout(5):  # a question that is still on its way began before
        while not offers._pools["here"].fails:
            await profile_form(offers, "ana", {})
    page = await profile_form(offers, "ana", {})
    assert "The scheduler does not answer now; this was so at " in page
    assert "4 of 4 h100 free now." in page


async def test_a_page_waits_for_no_directory_of_users(site, monkeypatch):
    may_answer, asked = threading.Event(), []

    def slow(person: str) -> frozenset[str]:
        asked.append(person)
        assert may_answer.wait(10)
        return frozenset({"staff"})

    monkeypatch.setattr(permission, "groups_of", slow)
    limits = {"staff": Limits(groups=["staff"], memory=8 * GB)}
    offers = fake_lab(site.model_copy(update={"limits": limits}), FakeScheduler(), GPU).offers
    for _ in range(3):
        began = time.monotonic()
        await profile_form(offers, "ana", {})
        assert time.monotonic() - began < 0.2
    assert asked == ["ana"], "no second thread hangs for the same person"
    may_answer.set()
    await until(lambda: offers._groups["ana"].answer)
    assert (await offers.look("ana")).limits_name == "staff"


async def test_who_starts_is_told_that_the_directory_does_not_answer(monkeypatch):
    may_answer = threading.Event()
    monkeypatch.setattr(permission, "groups_of", lambda person: may_answer.wait(10))
    monkeypatch.setattr(permission, "GROUPS_WITHIN_S", 0.01)
    with pytest.raises(LabkitError, match="directory of users does not say now"):
        await permission.groups_now("ana")
    may_answer.set()


async def test_the_start_of_what_is_in_use_is_asked_once_for_all_who_look(site):
    scheduler = FakeScheduler()
    scheduler.pools = [pool(), BUSY]
    scheduler.start = datetime.now(UTC) + timedelta(days=5)
    offers = fake_lab(site, scheduler, {**GPU, "notebook": Profile(title="Notebook")}).offers
    pages = [await profile_form(offers, name, {}) for name in ("ana", "ben", "ana")]
    assert "in 5 days" in pages[-1] and "None of 4 h100 free now." in pages[-1]
    assert [job.resources.device for job in scheduler.asked_starts] == ["h100"]


async def test_the_fold_has_what_a_person_may_use_with_its_limits(site):
    scheduler = FakeScheduler()
    scheduler.pools = [pool(), BUSY, replace(pool(), partition="night", default=False)]
    scheduler.allowed = Access(partitions=["local"], accounts=["lab", "class"])
    limits = {"all": Limits(memory=8 * GB, accounts=["class"])}
    site = site.model_copy(update={"limits": limits})
    page = await profile_form(fake_lab(site, scheduler, GPU).offers, "ana", {"cores": "3"})
    assert '<details class="labkit-advanced" open>' in page and 'value="3"' in page
    assert "h100: up to 4 on a node, 0 of 4 free" in page
    assert '<option value="class"' in page and '<option value="lab"' not in page
    assert '<option value="local"' in page and "night" not in page
    assert "Up to 16 GB on each node; 8 GB in all" in page
    for name in ("device", "gpus", "cores", "memory", "time", "account"):
        assert f'<label for="labkit-{name}">' in page
        assert (
            f'aria-describedby="labkit-{name}-hint"' in page and f'id="labkit-{name}-hint"' in page
        )


@pytest.mark.parametrize("limits", [Limits(advanced=False), Limits(profiles=["notebook"])])
async def test_what_a_person_may_not_have_is_not_shown(site, limits):
    site = site.model_copy(update={"limits": {"all": limits}})
    profiles = {"notebook": Profile(title="Notebook"), **GPU}
    page = await profile_form(fake_lab(site, FakeScheduler(), profiles).offers, "ana", {})
    assert ("labkit-advanced" in page) is limits.advanced
    assert ("One GPU" in page) is (limits.profiles is None)
