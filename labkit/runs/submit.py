"""From a spec to a run: check, estimate, run folder, job. And its stop, resume and end."""

import asyncio
import getpass
import os
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from labkit.clusters import open_cluster
from labkit.errors import DamagedFile, DataError, LabkitError, UsageError
from labkit.models.catalogue import find_model
from labkit.paths import private_folder, write_json
from labkit.place import cores_of, find_pool
from labkit.raycluster.job import RAY_MEMORY_BYTES, node_command
from labkit.recipes import RECIPES
from labkit.recipes.base import Estimate, Machine, Prepared, Task
from labkit.runs.find import create_run
from labkit.runs.fits import kind_of
from labkit.runs.folder import Attempt, Run
from labkit.runs.spec import RunSpec
from labkit.schedulers.base import (
    JobInfo,
    JobKind,
    JobResources,
    JobSpec,
    JobState,
    Scheduler,
)
from labkit.settings import Site, claim_folders

GRACE_S = 60
"""How long a run may take to save a checkpoint when it is asked to end."""
CLOSING_S = 30
"""How long a job may take from its run's last word to its end: Ray's processes go meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A spec that was checked, with what it would take: all that a dry run prints."""

    spec: RunSpec
    task: Task
    prepared: Prepared
    estimate: Estimate
    cluster: str
    resources: JobResources
    walltime_s: int
    """How long its job may run at a time; less than the run's time where the cluster says so."""
    expected_start: datetime | None
    """None where the scheduler cannot know."""


def task_of(site: Site, spec: RunSpec) -> Task:
    """What the spec's recipe is asked. Raises UsageError where it cannot tune that base model."""
    base = find_model(site.catalogue, spec.base)
    if spec.recipe not in base.tasks:
        raise UsageError(
            f"The recipe {spec.recipe} cannot tune {base.name!r}, which is of the family "
            f"{base.family!r}. See which can: labkit models"
        )
    return Task(config=spec.settings, base=base, data=spec.data, test=spec.test, seed=spec.seed)


async def plan_run(site: Site, spec: RunSpec) -> Plan:
    """Check the data and estimate the run; nothing is written.

    Raises UsageError where the spec names what is not there or asks for more than there is,
    DataError where the data cannot be read. Findings that forbid the run are in
    `prepared.findings`.
    """
    recipe = RECIPES.load(spec.recipe)
    name, cluster = site.cluster(spec.resources.cluster)
    scheduler = open_cluster(site, name)
    pool = await find_pool(scheduler, spec.resources, name)
    task = task_of(site, spec)
    prepared = recipe.prepare(task)
    num_cpus = spec.resources.cpus_per_node or cores_of(pool, spec.resources)
    per_node = max(1, spec.resources.gpus_per_node)  # training processes
    accelerator = pool.accelerator if spec.resources.gpus_per_node else "cpu"
    kind = kind_of(accelerator, cluster.devices.get(pool.device_name))
    flops = _flops(num_cpus, kind.torch_device) * per_node * spec.resources.nodes
    machine = Machine(**vars(kind), num_cpus=num_cpus, flops=flops)
    estimate = recipe.estimate(task, prepared.summary, machine)
    resources = JobResources(
        num_cpus=num_cpus,
        memory_bytes=spec.resources.memory or per_node * estimate.memory_bytes + RAY_MEMORY_BYTES,
        num_gpus=spec.resources.gpus_per_node,
        accelerator=accelerator,
        num_nodes=spec.resources.nodes,
    )
    walltime_s = min(spec.resources.time, pool.max_walltime_s or spec.resources.time)
    return Plan(
        spec=spec,
        task=task,
        prepared=prepared,
        estimate=estimate,
        cluster=name,
        resources=resources,
        walltime_s=walltime_s,
        expected_start=await scheduler.expected_start(
            _planned_job(site, spec, resources, walltime_s)
        ),
    )


async def submit_run(site: Site, plan: Plan) -> Run:
    """Make the run folder and queue its first job. Raises DataError where a finding forbids it."""
    problems = [f.message for f in plan.prepared.findings if f.severity == "problem"]
    if problems:
        raise DataError("The data cannot be used:\n" + "\n".join(f"  {p}" for p in problems))
    claim_folders(site)
    run = create_run(site.runs, plan.spec, plan.prepared.summary)
    try:
        plan.prepared.save(private_folder(run.dataset))
        base = plan.task.base.model_dump(mode="json")
        known = {"base": base, "walltime_s": plan.walltime_s}
        write_json(run.folder / "run.json", {**run.record(), **known})
        await _start(site, run, run.new_attempt(cluster=plan.cluster), plan.resources)
    except BaseException:
        run.delete()
        raise
    return run


async def resume_run(site: Site, run: Run) -> Attempt:
    """A new attempt from the newest checkpoint. Raises LabkitError where it runs or is done."""
    spec = run.spec()
    if run.evaluation() is not None:
        raise LabkitError(f"{run.name} is done; there is nothing to resume.")
    if not await _job_has_ended(site, run):
        raise LabkitError(f"{run.name} is still running or waiting.")
    find_model(site.catalogue, spec.base)
    resources = _resources_of(run)
    run.stop_file.unlink(missing_ok=True)
    attempt = run.new_attempt(cluster=run.last.cluster, resume_from=run.newest_checkpoint())
    try:
        await _start(site, run, attempt, resources)
    except BaseException:
        shutil.rmtree(attempt.folder, ignore_errors=True)
        raise
    return attempt


async def stop_run(site: Site, run: Run) -> bool:
    """Ask the run to save a checkpoint and end. False where it does not run."""
    job = await _job_of(site, run)
    if job is None:
        return False
    run.stop_file.touch(mode=0o600)  # first: what its job is asked, Slurm may ask it as well
    last = run.last
    status = last.status()
    # Once it has said where it is, there may be something to save.
    gently = status is not None and status.is_of(job) and job.state is JobState.RUNNING
    await open_cluster(site, last.cluster).cancel(last.job_id, gently=gently)
    return True


async def delete_run(site: Site, run: Run) -> None:
    """Remove the run folder. Raises LabkitError while it runs."""
    if not await _job_has_ended(site, run):
        raise LabkitError(f"{run.name} is running. Stop it first: labkit run stop {run.run_id}")
    run.delete()


async def _job_has_ended(site: Site, run: Run) -> bool:
    """Whether the run's job is gone; one that has said its last word is waited for a little."""
    deadline = time.monotonic() + CLOSING_S
    while await _job_of(site, run):
        if not _has_said_its_last(run) or time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.2)
    return True


async def _job_of(site: Site, run: Run) -> JobInfo | None:
    """The run's job, on whichever cluster, asked by name: a damaged run knows no job id.

    Of one's own jobs alone: others choose the names of theirs.
    """
    mine = ("", getpass.getuser())
    for name in site.clusters:
        jobs = await open_cluster(site, name).jobs()
        for job in jobs.values():
            if job.name == run.run_id and job.user in mine:
                return job
    return None


def _has_said_its_last(run: Run) -> bool:
    try:
        status = run.last.status()
    except LabkitError:
        return False
    return status is not None and status.state.ended


def job_spec(site: Site, run: Run, attempt: Attempt, resources: JobResources) -> JobSpec:
    """The job of an attempt: `labkit node`, which runs `labkit run execute` on its head."""
    node = node_command(site, resources, attempt.folder / "cluster", grace_s=GRACE_S)
    asked = run.spec().resources
    return JobSpec(
        name=run.run_id,
        kind=JobKind.RUN,
        argv=[
            *(*node, "--"),
            *(sys.executable, "-m", "labkit", "run", "execute"),
            f"--num-cpus={resources.num_cpus}",
            f"--num-gpus={resources.num_gpus}",
            f"--num-nodes={resources.num_nodes}",
            f"--accelerator={resources.accelerator}",
            f"--attempt={attempt.number}",
            str(run.folder),
        ],
        others=node if resources.num_nodes > 1 else [],
        folder=run.folder,
        log=attempt.log,
        resources=resources,
        walltime_s=run.record().get("walltime_s", asked.time),
        **asked.placed,
        environment=_environment(site, resources.num_cpus),
        grace_s=GRACE_S + CLOSING_S,
        restart_until=run.stop_file,
    )


def _planned_job(site: Site, spec: RunSpec, resources: JobResources, walltime_s: int) -> JobSpec:
    """What a scheduler needs to say when the run would start, or why it never can."""
    asked = spec.resources
    return JobSpec(
        name="planned",
        kind=JobKind.RUN,
        argv=[],
        folder=site.runs,
        log=site.runs / "log.txt",
        resources=resources,
        walltime_s=walltime_s,
        **asked.placed,
    )


def _resources_of(run: Run) -> JobResources:
    """What its earlier attempts held."""
    try:
        return JobResources(**run.record()["resources"])
    except (KeyError, TypeError):
        raise DamagedFile(
            f"{run.folder / 'run.json'} does not say what the run holds. Start it anew: "
            f"labkit run start {run.folder / 'spec.toml'}"
        ) from None


async def _start(site: Site, run: Run, attempt: Attempt, resources: JobResources) -> None:
    write_json(run.folder / "run.json", {**run.record(), "resources": vars(resources)})
    scheduler: Scheduler = open_cluster(site, attempt.cluster)
    job_id = await scheduler.submit(job_spec(site, run, attempt, resources))
    Attempt(
        number=attempt.number,
        folder=attempt.folder,
        cluster=attempt.cluster,
        job_id=job_id,
        resume_from=attempt.resume_from,
    ).write()


def _environment(site: Site, num_cpus: int) -> dict[str, str]:
    """Weights lie on disk: no process of a run may ask a hub for anything."""
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"), "1")
    return {
        **site.job_environment(),
        **offline,
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(num_cpus),  # else Ray gives its workers one each
    }


@cache
def _flops(num_cpus: int, device: str) -> float:
    """What a matrix product reaches here in float32, tried for some 20 ms; a guess for a GPU."""
    if device != "cpu":
        return 5e13
    import numpy as np

    rows = np.ones((1024, 384), np.float32)
    weights = np.ones((384, 1536), np.float32)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        np.matmul(rows, weights)
        best = min(best, time.perf_counter() - start)
    here = 2 * 1024 * 384 * 1536 / best
    return here * num_cpus / max(1, len(os.sched_getaffinity(0)))
