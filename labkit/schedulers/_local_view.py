"""The jobs and the machine of the `local` scheduler, in the words of every scheduler. Pure."""

import platform
from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime

from labkit.schedulers._local_jobs import Job, Stage, leases, requests
from labkit.schedulers._local_queue import Machine, forecast, free_amounts, reasons
from labkit.schedulers.base import Amounts, JobInfo, JobState, JobUse, Pool, PoolNode

_PARTITION = "local"

_STATES = {
    Stage.PENDING: JobState.PENDING,
    Stage.STARTING: JobState.PENDING,
    Stage.RUNNING: JobState.RUNNING,
    Stage.ENDING: JobState.ENDING,
}


def describe(jobs: Sequence[Job], machine: Machine, now: float) -> dict[str, JobInfo]:
    """All jobs that have not ended, given first come first."""
    waiting, held = requests(jobs), leases(jobs)
    places = {request.job_id: place for place, request in enumerate(waiting, start=1)}
    why = reasons(waiting, held, machine)
    starts = forecast(waiting, held, machine, now)
    return {
        job.job_id: JobInfo(
            job_id=job.job_id,
            name=job.spec.name,
            kind=job.spec.kind,
            tag=job.spec.tag,
            state=_STATES[job.stage],
            reason="It is being started."
            if job.stage is Stage.STARTING
            else why.get(job.job_id, ""),
            place=places.get(job.job_id),
            expected_start=as_time(starts.get(job.job_id)),
            submitted=datetime.fromtimestamp(job.submitted, UTC),
            started=as_time(job.started),
            deadline=as_time(job.started and job.lease.until),
            nodes=(platform.node(),) if job.started else (),
            resources=job.spec.resources,
        )
        for job in jobs
    }


def pools(jobs: Sequence[Job], machine: Machine) -> list[Pool]:
    """The processor, then each model of GPU. Cores and memory are the same in all of them."""
    held = leases(jobs)
    leased = {index for lease in held for index in lease.gpus}
    free = free_amounts(held, machine)
    names = ["", *dict.fromkeys(name for _, name in machine.gpus)]
    return [
        _pool(machine, free, {i for i, its_name in machine.gpus if its_name == name}, leased, name)
        for name in names
    ]


def _pool(machine: Machine, free: Amounts, gpus: Set[int], leased: Set[int], gpu_name: str) -> Pool:
    """Of the GPUs of that name; of the processor alone for ''."""
    node = PoolNode(
        name=platform.node(),
        total=replace(machine.amounts, num_gpus=len(gpus)),
        free=replace(free, num_gpus=len(gpus - leased)),
    )
    return Pool(
        partition=_PARTITION,
        accelerator=machine.accelerator if gpu_name else "cpu",
        device_name=gpu_name or machine.cpu_name,
        nodes=[node],
        shares_cores=True,
    )


def used(job: Job, held_s: float) -> JobUse:
    """What a job used that held what it was given for so long."""
    asked = job.spec.resources
    return JobUse(
        job_id=job.job_id,
        gpu_s_asked=asked.num_gpus * job.spec.walltime_s,
        gpu_s_held=asked.num_gpus * held_s,
        core_s_asked=asked.num_cpus * job.spec.walltime_s,
        core_s_held=asked.num_cpus * held_s,
        core_s_busy=None,
        energy_j=None,
    )


def as_time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
