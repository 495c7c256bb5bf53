"""What `labkit ray` checks before a job is submitted, keeps of it, and shows."""

import json
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import UsageError
from labkit.raycluster.rendezvous import Head
from labkit.rayjobs import launch as launching
from labkit.rayjobs.attach import command_beside
from labkit.rayjobs.launch import job_spec, plan_launch, submit_launch
from labkit.rayjobs.record import RayJob, find_job, list_jobs, new_job
from labkit.rayjobs.view import RayJobState, shown, stop_job
from labkit.resources import Resources
from labkit.schedulers.base import JobEnd, JobKind, JobResources, JobState, Outcome
from labkit.settings import Site

from .fake_lab import FakeScheduler, job_info, pool

SCRIPT = ["./python3", "train.py"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(runs=tmp_path / "runs", state=tmp_path / "state")


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> FakeScheduler:
    scheduler = FakeScheduler()
    one = pool()
    scheduler.pools = [replace(one, nodes=[*one.nodes, *one.nodes])]
    for module in ("clusters", "rayjobs.launch", "rayjobs.view", "rayjobs.attach"):
        monkeypatch.setattr(f"labkit.{module}.open_cluster", lambda *_: scheduler)
    return scheduler


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("")
    python_of(folder / "python3", sys.prefix)
    monkeypatch.chdir(folder)
    return folder


def python_of(file: Path, prefix: str) -> None:
    """One that says that it is of that environment; what the real one says, tests/slurm asks."""
    file.write_text(f"#!/bin/sh\necho '{json.dumps([prefix, '2.9.0'])}'\n")
    file.chmod(0o700)


def ray_job(site: Site, **changed: Any) -> RayJob:
    asked: dict[str, Any] = {
        "name": "train",
        "command": SCRIPT,
        "workdir": Path("/w"),
        "cluster": "local",
        "resources": JobResources(num_cpus=2, memory_bytes=2**30),
        "walltime_s": 60,
        "job_id": "7",
    }
    return new_job(site, **asked | changed)


async def test_a_command_becomes_a_job_with_what_it_needs_of_the_environment(
    site, scheduler, work, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("WANDB_MODE", "offline")
    planned = await plan_launch(site, SCRIPT, Resources(nodes=2, time=60), variables=["WANDB_MODE"])
    job = job_spec(site, planned, site.runs / "x")
    assert (job.kind, job.folder, job.resources.num_nodes) == (JobKind.RAY, work, 2)
    assert (
        list(job.argv[-2:]) == [f"{work}/python3", "train.py"]
        and job.argv[: len(job.others)] == job.others
    )
    assert job.environment["WANDB_MODE"] == "offline" and "HF_TOKEN" not in job.environment
    assert job.environment["PATH"] == os.environ["PATH"]
    assert not any("offline" in word for word in (*job.argv, *job.others))


async def test_what_is_left_out_is_the_nodes_cores_and_their_part_of_its_memory(
    site, scheduler, work
):
    whole = (await plan_launch(site, SCRIPT, Resources())).resources
    half = (await plan_launch(site, SCRIPT, Resources(cpus_per_node=4))).resources
    assert whole.num_cpus == 8 and half.memory_bytes == whole.memory_bytes // 2


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ([], "A command is needed, behind '--'"),
        (["nothing-of-the-kind"], "No program 'nothing-of-the-kind' is here"),
        (["./train.py"], "For a script, say what runs it: labkit ray launch -- python ./train.py"),
        (["./python3", "-u", "gone.py"], "There is no file .*/project/gone.py"),
    ],
)
async def test_a_command_that_cannot_run_is_refused(site, scheduler, work, command, said):
    with pytest.raises(UsageError, match=said):
        await plan_launch(site, command, Resources())
    assert scheduler.submitted == [] and not site.runs.exists()


async def test_another_python_is_refused_since_workers_would_lack_its_packages(
    site, scheduler, work, tmp_path
):
    other = tmp_path / "python3"
    python_of(other, "/opt/other")
    with pytest.raises(UsageError, match=r"runs in /opt/other \(ray 2.9.0\), and Ray's workers"):
        await plan_launch(site, [str(other), "train.py"], Resources())


async def test_names_are_checked_and_each_its_own(site, scheduler, work):
    with pytest.raises(UsageError, match="'--x' cannot be a Ray job's name. Allowed: 1 to 80"):
        await plan_launch(site, SCRIPT, Resources(), name="--x")
    assert [ray_job(site).name for _ in range(2)] == ["train", "train-2"]


async def test_a_variable_that_is_not_set_is_named(site, scheduler, work):
    with pytest.raises(UsageError, match="No variable NOT_THERE is set here"):
        await plan_launch(site, SCRIPT, Resources(), variables=["NOT_THERE"])


@pytest.mark.parametrize(
    ("arguments", "script"),
    [
        (["train.py", "-c", "x"], "train.py"),
        (["-u", "-X", "dev", "-W", "error", "train.py"], "train.py"),
        (["-m", "package.train"], None),
        (["-c", "print()"], None),
        (["-"], None),
        ([], None),
    ],
)
def test_the_script_of_a_python_is_found(arguments, script):
    assert launching._script_of(arguments) == script


async def test_what_the_scheduler_refuses_leaves_no_record(site, scheduler, work, monkeypatch):
    planned = await plan_launch(site, SCRIPT, Resources())

    async def refuse(_: object) -> str:
        raise UsageError("no")

    monkeypatch.setattr(scheduler, "submit", refuse)
    with pytest.raises(UsageError, match="no"):
        await submit_launch(site, planned)
    assert list_jobs(site) == ([], [])


def test_a_record_is_found_by_id_and_name_and_a_damaged_one_hurts_no_other(site):
    job = ray_job(site, name="fit")
    assert find_job(site, "fit") == find_job(site, job.ray_job_id[-6:]) == job
    assert job.folder.stat().st_mode & 0o77 == 0
    broken = ray_job(site, name="broken")
    (broken.folder / "job.json").write_text("{}")
    jobs, damaged = list_jobs(site)
    assert jobs == [job] and "job.json is damaged: name" in str(damaged[0])
    with pytest.raises(UsageError, match="No Ray job is called 'fitt'. Did you mean 'fit'?"):
        find_job(site, "fitt")


def end(outcome: Outcome, exit_code: int | None = 0) -> JobEnd:
    return JobEnd(job_id="7", outcome=outcome, exit_code=exit_code, ended=datetime.now(UTC))


def test_a_job_is_shown_as_the_scheduler_has_it(site):
    job = ray_job(site)
    live = {state: job_info("7", name="j", state=state) for state in JobState}
    assert shown(job, live[JobState.PENDING], None).state is RayJobState.QUEUED
    assert shown(job, live[JobState.RUNNING], None).state is RayJobState.STARTING
    job.meeting.open(tls=True)
    job.meeting.publish(Head(address="n1:1", temp="/tmp/lkx"))
    assert shown(job, live[JobState.RUNNING], None).state is RayJobState.RUNNING
    job.meeting.close()
    assert shown(job, live[JobState.RUNNING], None).state is RayJobState.ENDING
    assert shown(job, None, None).state is RayJobState.UNKNOWN
    assert shown(job, None, end(Outcome.COMPLETED)).state is RayJobState.DONE
    failed = shown(job, None, end(Outcome.FAILED, 3))
    assert failed.state is RayJobState.FAILED and "exit code 3" in failed.message


async def test_a_stop_that_was_asked_is_no_failure_and_no_cluster_is_no_door(site, scheduler):
    job = ray_job(site)
    scheduler.waiting["7"] = job_info("7", name="j", state=JobState.RUNNING)
    with pytest.raises(Exception, match="train is starting: there is no cluster to attach to"):
        await command_beside(site, job, ["id"], terminal=False)
    assert await stop_job(site, job)
    (asked,) = list_jobs(site)[0]
    assert shown(asked, None, end(Outcome.FAILED, 143)).state is RayJobState.STOPPED
    assert shown(asked, None, end(Outcome.COMPLETED)).state is RayJobState.DONE
