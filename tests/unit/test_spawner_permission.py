"""What a person may have: the limits of their groups, and what the cluster offers them."""

import grp
import os
import pwd
from dataclasses import replace

import pytest

from labkit.errors import LabkitError, UsageError
from labkit.schedulers.base import Access
from labkit.settings import Limits, Profile, Site
from labkit_spawners import permission
from labkit_spawners.permission import groups_of, limits_of, require_permitted
from labkit_spawners.places import why_not
from labkit_spawners.watch import JobWatch
from tests.unit.fake_lab import GB, PROFILES, FakeScheduler, pool

LIMITS = {
    "students": Limits(
        groups=["students"], gpus=1, shares=4, memory=8 * GB, time=3600, profiles=["notebook"],
        partitions=["local"],
    ),
    "guests": Limits(groups=["guests"], advanced=False),
}  # fmt: skip
H100 = pool(num_gpus=4, device_name="h100", partition="gpu")


@pytest.fixture
def scheduler() -> FakeScheduler:
    scheduler = FakeScheduler()
    scheduler.allowed = Access(partitions=["local", "gpu"], accounts=["lab"])
    scheduler.pools = [pool(), H100]
    return scheduler


@pytest.fixture
def ask(site: Site, scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch):
    """Ask for the first profile, changed, as somebody of those groups."""
    site = site.model_copy(update={"profiles": PROFILES, "limits": LIMITS})

    async def ask(*groups: str, name: str = "notebook", **changes) -> None:
        monkeypatch.setattr(permission, "groups_of", lambda person: frozenset(groups))
        asked = PROFILES[name].model_copy(update=changes)
        await require_permitted(site, JobWatch(scheduler), "ana", name, asked)

    return ask


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gpus": 2}, "gpus: 2 asked in all; limits.students.gpus allows 1."),
        ({"gpus": 1, "nodes": 2}, "gpus: 2 asked in all; limits.students.gpus allows 1."),
        ({"gpus": 5, "device": "shard"}, "gpus: 5 asked in all; limits.students.shares allows 4."),
        ({"memory": 9 * GB}, "memory: 9.0 GB asked in all; limits.students.memory allows 8.0 GB."),
        ({"time": 7200}, "time: 2 h 00 min asked in all; limits.students.time allows 1 h 00 min."),
        ({"name": "large"}, "profile: 'large' asked; limits.students.profiles allows 'notebook'."),
        ({"partition": "gpu"}, "found 'gpu'; limits.students.partitions allows 'local'."),
    ],
)
async def test_a_limit_of_a_group_is_named_by_its_path(ask, changes, said):
    with pytest.raises(UsageError) as caught:
        await ask("students", **{"time": 3600, **changes})
    assert said in str(caught.value)


async def test_who_is_in_no_such_group_has_no_such_limit(ask, scheduler):
    asked = {"gpus": 4, "memory": 100 * GB, "nodes": 8}
    with pytest.raises(UsageError, match="limits.students"):
        await ask("students", **asked)
    for groups, name, changes in ((("staff",), "notebook", asked), ((), "large", {})):
        assert await ask(*groups, name=name, **changes) is None


async def test_profiles_as_they_are_and_no_more(ask):
    await ask("guests")
    with pytest.raises(UsageError, match="cores: limits.guests.advanced allows the profiles as"):
        await ask("guests", cores=1)


async def test_names_are_those_that_the_cluster_offers(ask, scheduler):
    await ask(partition="gpu", account="lab", device="h100", gpus=1)
    for key, name in (("account", "class"), ("reservation", "x"), ("device", "a100")):
        with pytest.raises(UsageError, match=f"{key}: found '{name}'. Allowed for you: "):
            await ask(**{key: name})


async def test_a_name_that_cannot_be_looked_up_is_refused_for_now(ask, scheduler):
    scheduler.fault = LabkitError("no answer")
    with pytest.raises(LabkitError, match="does not answer now, so 'lab' cannot be looked up"):
        await ask(account="lab")
    await ask(cores=1)  # a number needs no looking up


def test_the_first_limits_that_are_for_a_person_hold():
    site = Site(limits={**LIMITS, "all": Limits(gpus=0)})
    assert limits_of(site, {"guests", "students"})[0] == "students"
    assert limits_of(site, set())[0] == "all"
    assert limits_of(Site(), {"students"}) == ("", Limits())


def test_groups_are_those_of_unix():
    me = pwd.getpwuid(os.getuid()).pw_name
    assert grp.getgrgid(os.getgid()).gr_name in groups_of(me)
    assert groups_of("nobody-of-that-name") == groups_of("a\0b") == frozenset()


TWO_NODES = replace(H100, nodes=[H100.nodes[0], replace(H100.nodes[0], name="other")])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"nodes": 2}, ""),
        (
            {"gpus": 8},
            "You asked for 8 × h100 on one node; no node has more than 4. Choose at most 4; or "
            "2 nodes with 4 each.",
        ),
        (
            {"gpus": 9},
            "You asked for 9 × h100 on one node; no node has more than 4. Choose at most 4.",
        ),
        (
            {"cores": 99},
            "You asked for 99 cores on one node; no node with 1 × h100 has more than 8. Choose at "
            "most 8.",
        ),
        (
            {"memory": 20 * GB},
            "You asked for 20 GB of memory on one node; no node with 1 × h100 has more than 16 GB. "
            "Choose at most 16 GB.",
        ),
        (
            {"nodes": 3},
            "You asked for 3 nodes; 2 have as much as you asked of each. Choose at most 2.",
        ),
        ({"time": 7200}, "You asked for 2 hours; partition gpu allows at most 1 hour."),
        ({"device": "a100"}, "No a100 in partition gpu. There: h100."),
        ({"partition": "night"}, "No partition 'night' is open now."),
    ],
)
def test_what_cannot_fit_is_said_with_what_would(changes, said):
    there = replace(TWO_NODES, shares_cores=False, max_walltime_s=3600)
    asked = Profile(title="", gpus=1, device="h100", partition="gpu", time=3600)
    assert why_not(asked.model_copy(update=changes), [pool(), there]) == said
