"""What runs cost: figures of scheduler and meters together, and what is not known."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.accelerators.base import Reading
from labkit.errors import LabkitError
from labkit.runs import cost as costs
from labkit.runs.cost import Cost, by_cluster, cost, cost_line, cost_of_runs, in_words
from labkit.runs.meter import Use, add, metered, own_devices, read_uses
from labkit.schedulers.base import JobUse

from .fake_lab import FakeScheduler
from .made_runs import new_run

HOUR = 3600
ON_GPUS = JobUse(
    job_id="7",
    gpu_s_asked=16 * HOUR,
    gpu_s_held=4 * HOUR,
    core_s_asked=8 * HOUR,
    core_s_held=2 * HOUR,
    core_s_busy=1 * HOUR,
    energy_j=None,
)
METERED = Use(core_s_busy=HOUR / 2, device_s_busy=1.5 * HOUR, energy_j=1.8e6)
NOTHING = Use(core_s_busy=0.0, device_s_busy=0.0, energy_j=0.0)


def test_the_scheduler_says_what_was_held_and_the_meters_what_was_busy():
    assert cost([ON_GPUS], [[METERED, METERED]]) == Cost(
        gpu_hours_asked=16,
        gpu_hours_held=4,
        gpu_hours_busy=3,
        core_hours_asked=8,
        core_hours_held=2,
        core_hours_busy=1,  # the scheduler counts all processes
        kwh=1,
    )


def test_the_schedulers_own_energy_is_taken_where_there_is_one():
    assert cost([replace(ON_GPUS, energy_j=7.2e6)], [[METERED]]).kwh == 2


def test_what_is_not_known_of_one_attempt_is_not_known_of_the_run():
    found = cost([ON_GPUS, None], [[METERED], []])
    assert found == Cost()
    silent = replace(METERED, device_s_busy=None, energy_j=None)
    found = cost([ON_GPUS], [[METERED, silent]])
    assert found.gpu_hours_busy is None and found.kwh is None and found.gpu_hours_held == 4


def test_a_run_without_gpus_keeps_none_busy():
    on_cores = replace(ON_GPUS, gpu_s_asked=0, gpu_s_held=0, core_s_busy=None)
    found = cost([on_cores], [[replace(METERED, energy_j=None)]])
    assert (found.gpu_hours_held, found.gpu_hours_busy) == (0, 0)
    assert (found.core_hours_busy, found.kwh) == (0.5, None)
    assert cost_line(found) == "2 core-hours held, busy 0.5; energy not known"


@pytest.mark.parametrize(
    ("amount", "words"),
    [(None, "not known"), (0, "0"), (1234.56, "1,234.6"), (0.0042, "0.0042"),
     (0.00002, "below 0.0001"), (3, "3")],
)  # fmt: skip
def test_amounts_in_words(amount, words):
    assert in_words(amount) == words


# The meter.


def reading(utilisation: float | None = 0.5, power_w: float | None = 100.0) -> Reading:
    return Reading(index=0, utilisation=utilisation, memory_used_bytes=0, power_w=power_w)


def test_the_meter_adds_up():
    use = add(NOTHING, [reading(), reading(1.0, 300.0)], 2, 10, 4.5)
    assert use == Use(core_s_busy=4.5, device_s_busy=15, energy_j=4000)


@pytest.mark.parametrize("readings", [[reading(None, None)], []])
def test_what_a_device_does_not_tell_once_stays_unknown(readings):
    use = add(NOTHING, readings, 1, 10, 0)
    assert use.device_s_busy is None and use.energy_j is None
    assert add(use, [reading()], 1, 10, 0).device_s_busy is None


def test_a_process_without_devices_says_nothing_of_them():
    assert add(NOTHING, [], 0, 10, 0).device_s_busy is None


def test_own_devices_are_those_that_it_was_given():
    assert own_devices("nvidia", {"CUDA_VISIBLE_DEVICES": "2,5"}) == [2, 5]
    assert own_devices("nvidia", {}) == []
    assert own_devices("cpu", {"CUDA_VISIBLE_DEVICES": "2"}) == [0]


def test_this_process_is_metered_to_its_end(tmp_path: Path):
    with metered("cpu", tmp_path / "use-0.json"):
        pass
    (use,) = read_uses(tmp_path)
    assert use.core_s_busy > 0


# Runs.


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> "Accounts":
    scheduler = Accounts()
    monkeypatch.setattr(costs, "open_cluster", lambda *_: scheduler)
    return scheduler


class Accounts(FakeScheduler):
    async def used(self, job_ids):
        if self.fault:
            raise self.fault
        return {job_id: replace(ON_GPUS, job_id=job_id) for job_id in job_ids if job_id != "gone"}


def submitted(site, name: str, *job_ids: str):
    run = new_run(site, name=name)
    shutil.rmtree(run.last.folder)
    for job_id in job_ids:
        attempt = replace(run.new_attempt(cluster="nano4"), job_id=job_id)
        attempt.write()
        use = {"core_s_busy": 1.0, "device_s_busy": 3600.0, "energy_j": None}
        (attempt.folder / "use-0.json").write_text(json.dumps(use))
    return run


async def test_runs_and_their_cluster_together(site, accounts):
    # A job that lost a node goes on in another attempt of the same job.
    runs = [submitted(site, "a", "7", "7"), submitted(site, "b", "8"), submitted(site, "c", "gone")]
    found = await cost_of_runs(site, runs)
    assert [one.cost.gpu_hours_held for one in found] == [4, 4, None]
    assert [one.cost.gpu_hours_busy for one in found] == [2, 1, 1]
    (nano4,) = by_cluster(found)
    assert (nano4.cluster, nano4.num_runs, nano4.cost.gpu_hours_held) == ("nano4", 3, 8)
    assert nano4.num_unknown["gpu_hours_held"] == 1
    assert nano4.cost.kwh is None and nano4.num_unknown["kwh"] == 3


async def test_a_cluster_that_does_not_say_is_told_of(site, accounts):
    accounts.fault = LabkitError("Slurm's sacct failed: no answer within 10 s.")
    (found,) = await cost_of_runs(site, [submitted(site, "a", "7")])
    assert found.cost.gpu_hours_held is None
    assert found.problem == "Slurm's sacct failed: no answer within 10 s."


async def test_a_damaged_file_is_told_of(site, accounts):
    run = submitted(site, "a", "7")
    (run.last.folder / "use-0.json").write_text("{")
    (found,) = await cost_of_runs(site, [run])
    assert found.cost.gpu_hours_held == 4 and found.cost.gpu_hours_busy is None
    assert "use-0.json is damaged" in found.problem


def test_in_a_terminal(labkit, site, accounts):
    assert "No runs yet" in labkit("run", "cost").out
    run = submitted(site, "a", "7")
    said = labkit("run", "cost", "last").out
    assert "16.0 asked, 4 held, 1 busy" in said and "not known" in said
    assert labkit("run", "cost", "last", "--json").json()["gpu_hours_held"] == 4
    told = labkit("run", "cost", "--json").json()
    assert told["runs"][0]["run"] == run.run_id and told["runs"][0]["kwh"] is None
    assert told["clusters"][0]["core_hours_held"] == 2
    assert "nano4" in labkit("run", "cost").out
