"""From a spec to a job, with the real scheduler `local` in a folder of the test's own."""

import asyncio
import getpass
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.clusters import open_cluster
from labkit.errors import DataError, LabkitError, UsageError
from labkit.runs import submit
from labkit.runs.find import create_run, list_runs
from labkit.runs.folder import Run, RunState, Status
from labkit.runs.spec import RunSpec, spec_from_flat
from labkit.runs.submit import (
    Plan,
    delete_run,
    job_spec,
    plan_run,
    resume_run,
    stop_run,
    submit_run,
)
from labkit.runs.view import view_runs
from labkit.schedulers.base import Access, JobInfo, JobKind, JobResources, JobSpec
from labkit.settings import Site

from .fake_lab import FakeScheduler, job_info, pool

GB = 2**30


@pytest.fixture
async def sleepy_jobs(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Jobs are real, but sleep instead of tuning. What still sleeps at the end is ended."""
    made = job_spec

    def sleeping(*given: Any) -> Any:
        return replace(made(*given), argv=["sleep", "60"], grace_s=0)

    monkeypatch.setattr(submit, "job_spec", sleeping)
    yield
    scheduler = open_cluster(site)
    for job_id in await scheduler.jobs():
        await scheduler.cancel(job_id)
    await until_no_jobs(site)


async def until_no_jobs(site: Site) -> None:
    deadline = time.monotonic() + 20
    while await open_cluster(site).jobs():
        assert time.monotonic() < deadline, "a job did not end"
        await asyncio.sleep(0.02)


@pytest.fixture
def spec(base, pets: Path) -> RunSpec:
    return changed_spec(pets)


def changed_spec(data: Path, **given: Any) -> RunSpec:
    flat = {"recipe": "text-classification", "base": "thin", "data": str(data), **given}
    return spec_from_flat(flat, source="the command line")


async def test_a_plan_checks_and_estimates_and_writes_nothing(site, spec):
    plan = await plan_run(site, spec)
    assert plan.prepared.usable
    assert sum(plan.prepared.summary["rows"].values()) == 60
    assert plan.estimate.duration_s > 0 and "FLOP" in plan.estimate.basis
    assert plan.cluster == "here"
    assert plan.resources.num_cpus == 2
    assert plan.resources.memory_bytes > plan.estimate.memory_bytes
    assert plan.expected_start is not None
    assert not site.runs.exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"gpus_per_node": 2}, "2 GPUs asked; the cluster 'here' has none. Set gpus_per_node to 0"),
        ({"nodes": 3}, "3 nodes asked; the cluster 'here' is one machine. Leave nodes out"),
        ({"nodes": 0}, "nodes: found 0; allowed is a whole number from 1 to 10000"),
        ({"account": "p123"}, "account 'p123' asked; the cluster 'here' has no accounts for you"),
        ({"partition": "a b"}, "partition: found 'a b'; allowed is a name that the cluster knows"),
        ({"cpus_per_node": 9}, "9 cores.* asked; this machine has 2 cores"),
        ({"memory": "900 GB"}, "900.0 GB of memory asked; this machine has 2 cores and 64.0 GB"),
        ({"cluster": "there"}, "No cluster is called 'there'.*Known: here"),
        ({"base": "thinn"}, "No base model is called 'thinn'. Did you mean 'thin'?"),
        ({"text": "texts"}, "has no column 'texts'.*Did you mean 'text'.*settings text and label"),
        ({"validation": 0.5, "held_out": 0.5}, "leave nothing to learn from"),
    ],
)
async def test_what_cannot_be_is_said_before_anything_is_made(site, base, pets, given, sentence):
    with pytest.raises(UsageError, match=sentence):
        await plan_run(site, changed_spec(pets, **given))
    assert not site.runs.exists()


async def test_a_finding_that_forbids_the_run_stops_it(site, base, write_csv):
    data = write_csv("one.csv", [(f"text {n}", "same") for n in range(60)])
    plan = await plan_run(site, changed_spec(data))
    assert not plan.prepared.usable
    with pytest.raises(DataError, match="The data cannot be used:\n  All rows have the label"):
        await submit_run(site, plan)
    assert list_runs(site.runs) == []


async def test_a_submit_that_fails_leaves_no_folder(site, spec):
    plan = await plan_run(site, spec)
    too_much = replace(plan, resources=replace(plan.resources, memory_bytes=900 * GB))
    with pytest.raises(UsageError, match="900.0 GB of memory asked"):
        await submit_run(site, too_much)
    assert [path.name for path in site.runs.iterdir()] == [".site.json"]


async def test_a_data_set_that_cannot_be_saved_leaves_no_folder(site, spec):
    def disk_is_full(folder: Path) -> None:
        raise LabkitError("The disk is full.")

    plan = await plan_run(site, spec)
    full = replace(plan, prepared=replace(plan.prepared, save=disk_is_full))
    with pytest.raises(LabkitError, match="The disk is full"):
        await submit_run(site, full)
    assert list_runs(site.runs) == []


async def test_a_run_is_submitted_stopped_resumed_and_deleted(site, spec, sleepy_jobs):
    run = await submit_run(site, await plan_run(site, spec))
    os.unlink(spec.data)  # the run has its own copy
    assert run.record()["base"]["name"] == "thin"
    assert (await open_cluster(site).jobs())[run.last.job_id].name == run.run_id

    with pytest.raises(LabkitError, match="pets is running. Stop it first: labkit run stop"):
        await delete_run(site, run)
    with pytest.raises(LabkitError, match="pets is still running or waiting"):
        await resume_run(site, run)

    assert await stop_run(site, run)
    await until_no_jobs(site)
    assert not await stop_run(site, run)
    assert (await view_runs(site, [run]))[0].status.state is RunState.STOPPED

    attempt = await resume_run(site, run)
    assert (attempt.number, attempt.resume_from) == (2, "")
    assert run.last.job_id in await open_cluster(site).jobs()

    await stop_run(site, run)
    await until_no_jobs(site)
    await delete_run(site, run)
    assert list_runs(site.runs) == []


async def test_a_damaged_run_is_not_deleted_while_its_job_lives(site, spec, sleepy_jobs):
    run = await submit_run(site, await plan_run(site, spec))
    job_id = run.last.job_id
    (run.last.folder / "attempt.json").write_text("{")
    with pytest.raises(LabkitError, match="is running"):
        await delete_run(site, run)
    await open_cluster(site).cancel(job_id)
    await until_no_jobs(site)
    await delete_run(site, run)
    assert not run.folder.exists()


async def test_a_resume_that_fails_leaves_no_attempt(site, spec, sleepy_jobs, monkeypatch):
    run = await submit_run(site, await plan_run(site, spec))
    await stop_run(site, run)
    await until_no_jobs(site)
    record = run.record()
    record["resources"]["memory_bytes"] = 900 * GB
    monkeypatch.setattr(Run, "record", lambda _: record)
    with pytest.raises(UsageError, match="900.0 GB"):
        await resume_run(site, run)
    assert len(run.attempts()) == 1


async def test_what_cannot_be_resumed_says_why(site, spec, sleepy_jobs, base_folder):
    run = await submit_run(site, await plan_run(site, spec))
    await stop_run(site, run)
    await until_no_jobs(site)
    (base_folder / "model.safetensors").rename(base_folder / "gone")
    with pytest.raises(LabkitError, match="The weights of 'thin' are no longer at"):
        await resume_run(site, run)


async def test_a_job_is_an_argument_list_with_an_allowed_environment(site, spec, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    plan = await plan_run(site, spec)
    job = job_of(site, plan)
    assert all(isinstance(word, str) for word in job.argv)
    assert not {";", "&&", "sh", "bash", "-c"} & set(job.argv)
    assert job.argv[-1].startswith(str(site.runs))
    assert set(job.environment) <= {
        "PATH", *site.environment.allow,
        "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "PYTHONUNBUFFERED",
        "OMP_NUM_THREADS",
    }  # fmt: skip
    assert job.environment["HF_HUB_OFFLINE"] == job.environment["TRANSFORMERS_OFFLINE"] == "1"
    assert "secret" not in job.environment.values()
    assert job.walltime_s == spec.resources.time


async def test_no_text_of_a_persons_reaches_a_jobs_command(site, base, pets):
    plan = await plan_run(site, changed_spec(pets, name="a; rm -rf $(HOME) `x`"))
    assert "rm -rf" not in " ".join(job_of(site, plan).argv)


def job_of(site: Site, plan: Plan) -> JobSpec:
    run = create_run(site.runs, plan.spec, {})
    attempt = run.new_attempt(cluster="here")
    return job_spec(site, run, attempt, JobResources(num_cpus=1, memory_bytes=GB))


async def test_a_run_that_is_done_is_not_resumed(site, spec, monkeypatch):
    run = create_run(site.runs, spec, {})
    run.new_attempt(cluster="here").write_status(Status(state=RunState.DONE))
    monkeypatch.setattr(Run, "evaluation", lambda _: {"tuned": {}})
    with pytest.raises(LabkitError, match="pets is done; there is nothing to resume"):
        await resume_run(site, run)


async def test_anothers_job_of_the_same_name_is_not_the_runs(site, spec, monkeypatch):
    run = create_run(site.runs, spec, {})
    jobs = {"7": job_info("7", name=run.run_id, kind=JobKind.RUN, user="mallory")}

    async def all_jobs() -> dict[str, JobInfo]:
        return jobs

    monkeypatch.setattr(submit, "open_cluster", lambda *_: SimpleNamespace(jobs=all_jobs))
    assert not await submit.stop_run(site, run)
    jobs["8"] = job_info("8", name=run.run_id, kind=JobKind.RUN, user=getpass.getuser())
    with pytest.raises(LabkitError, match="is running. Stop it first"):
        await delete_run(site, run)


async def test_where_it_runs_and_who_pays_reach_the_job(site, base, pets, monkeypatch):
    scheduler = FakeScheduler()
    scheduler.allowed = Access(partitions=["gpu"], accounts=["p1"], reservations=["class"])
    scheduler.pools = [pool(partition="debug"), pool(partition="gpu", default=False)]
    monkeypatch.setattr(submit, "open_cluster", lambda *_: scheduler)
    spec = changed_spec(pets, partition="gpu", account="p1", reservation="class")
    await submit_run(site, await plan_run(site, spec))
    for job in (*scheduler.asked_starts, *scheduler.submitted):
        assert (job.partition, job.account, job.reservation) == ("gpu", "p1", "class")
    assert scheduler.asked_rights == [getpass.getuser()]
