"""Weak points of batchspawner that need no cluster: its own class does the one, ours the other.

Those that need a cluster are in tests/slurm/test_plain_batchspawner.py.
"""

import asyncio
from types import SimpleNamespace

import pytest
from batchspawner import SlurmSpawner

from labkit.errors import UsageError
from labkit_spawners.options import read_options
from tests.unit.fake_lab import FakeScheduler, fake_lab, spawner_of


class PlainSpawner(SlurmSpawner):
    """As its authors ship it, but that commands are noted and not run."""

    noted: list[tuple[str, str | None]]

    def get_env(self) -> dict[str, str]:
        return {}

    async def run_command(self, cmd, input=None, env=None) -> str:
        self.noted.append((cmd, input))
        return "7"


def plain(**options: str) -> PlainSpawner:
    spawner = PlainSpawner(
        user=SimpleNamespace(name="ana", url="/user/ana/"), hub=SimpleNamespace(), req_homedir="/"
    )
    spawner.noted, spawner.user_options = [], options
    return spawner


async def test_texts_of_people_reach_the_job_script_or_are_refused(site):
    options = {"partition": "two\nlines of mine"}
    theirs = plain(**options)
    await theirs.submit_batch_script()
    ((_, script),) = theirs.noted
    assert script and "lines of mine" in script.splitlines()
    with pytest.raises(UsageError, match="partition"):
        read_options(options, site.profiles)


async def test_five_sessions_are_five_questions_or_one(site):
    five = [plain() for _ in range(5)]
    for spawner in five:
        spawner.job_id = "7"
    await asyncio.gather(*(spawner.poll() for spawner in five))
    assert sum("sudo" in cmd and "squeue" in cmd for s in five for cmd, _ in s.noted) == 5

    scheduler = FakeScheduler()
    scheduler.look_every_s = 5.0
    lab = fake_lab(site, scheduler)
    ours = [spawner_of(lab, f"person{number}") for number in range(5)]
    for spawner in ours:
        spawner.job_id = "7"
    await asyncio.gather(*(spawner.poll() for spawner in ours))
    assert scheduler.looks == 1


async def test_a_sessions_key_stays_a_file_of_the_hubs_or_is_none(site):
    """JupyterHub makes the pair; it is the spawner's part to bring it to the job."""
    made = {"keyfile": "/hub/ana.key", "certfile": "/hub/ana.crt", "cafile": "/hub/trust.crt"}
    assert await plain().move_certs(made) == made, "paths that no node sees"
    ours = spawner_of(fake_lab(site, FakeScheduler()))
    assert await ours.create_certs() == {}, "ours travel with the job: test_spawner_certificates"
