"""What `sbatch` is given for a job, and what its refusals mean. Pure."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from labkit.errors import UsageError
from labkit.schedulers._slurm_nodes import SHARD
from labkit.schedulers._slurm_view import COMMENT
from labkit.schedulers.base import JobKind, JobSpec
from labkit.units import format_duration, format_memory

WATCH = "labkit.schedulers._slurm_again"


def arguments(job: JobSpec, *, share_nodes: bool = False) -> list[str]:
    """The options for `sbatch`: numbers, names that were checked, and paths.

    `share_nodes`: whether other people's jobs may be on the nodes of one that has several.
    """
    asked = job.resources
    given = [
        "--parsable",
        "--export=NIL",
        "--requeue" if job.restart_until else "--no-requeue",
        # Where other nodes only lend themselves, the first goes on without one that is lost.
        *(["--no-kill"] if job.others else []),
        *(["--exclusive=user"] if job.others and not share_nodes else []),
        f"--job-name={job.name}",
        f"--comment={COMMENT}{job.kind}:{job.tag}",
        f"--chdir={job.folder}",
        f"--output={_literal(job.log)}",
        "--open-mode=append",
        "--input=/dev/null",
        f"--nodes={asked.num_nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={asked.num_cpus}",
        f"--mem={-(-asked.memory_bytes // 2**20)}M",
        f"--time={-(-job.walltime_s // 60)}",
    ]
    if job.kind is not JobKind.SESSION:
        # Before its time is over, so that it can save its work: up to a minute earlier than said
        # (man sbatch, --signal). A session has the time that it was given, and Slurm's KillWait.
        given.append(f"--signal=B:TERM@{min(job.grace_s, job.walltime_s // 2)}")
    if asked.num_gpus:
        given.append(f"--gres={gres(asked.device, asked.num_gpus)}")
    placed = {
        "partition": job.partition,
        "account": job.account,
        "reservation": job.reservation,
    }
    return given + [f"--{option}={value}" for option, value in placed.items() if value]


def others_step(job: JobSpec) -> list[str]:
    """How the first node starts what the others run: a step of their own, which ends with the job.

    All is said anew: `--export=NIL` and the batch script's options do not hold for steps.
    """
    if not job.others:
        return []
    count = job.resources.num_nodes - 1
    return [
        "srun",
        "--relative=1",
        f"--nodes={count}",
        f"--ntasks={count}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={job.resources.num_cpus}",
        "--export=ALL",
        "--input=none",
        "--kill-on-bad-exit=0",
        "--no-kill",
        "--wait=0",
        "--mpi=none",
        *((sys.executable, "-P", "-m", WATCH) if job.restart_until else ()),
        *job.others,
    ]


def gres(device: str, count: int) -> str:
    """'gpu:h100:2', 'shard:4'; 'gpu:1' for whatever GPU there is."""
    if device == SHARD:
        return f"{SHARD}:{count}"
    return f"gpu:{device}:{count}" if device not in ("", "gpu") else f"gpu:{count}"


def _literal(path: Path) -> str:
    """sbatch fills in what follows a '%' (man sbatch, filename pattern)."""
    return str(path).replace("%", "%%")


def script(prologue: Sequence[str], python: str, job_file: Path) -> str:
    """The batch script: the site's own lines, then the job. Nothing of it is a person's text."""
    return "\n".join(
        [
            "#!/bin/bash",
            "umask 077",
            *prologue,
            f"exec {shlex.quote(python)} -P -m labkit.schedulers._slurm_job "
            f"{shlex.quote(str(job_file))}",
            "",
        ]
    )


def refusal(job: JobSpec, said: str) -> UsageError | None:
    """What Slurm's refusal means; None where it says nothing about what was asked."""
    asked = job.resources
    gpus = f", {asked.num_gpus} × {asked.device or 'GPU'}" if asked.num_gpus else ""
    amounts = (
        f"{asked.num_nodes} node{'s' if asked.num_nodes > 1 else ''} with {asked.num_cpus} cores, "
        f"{format_memory(asked.memory_bytes)}{gpus} for {format_duration(job.walltime_s)}"
    )
    for pattern, advice in _REFUSALS.items():
        if re.search(pattern, said, re.IGNORECASE):
            return UsageError(f"{amounts} asked. {advice}")
    return None


_REFUSALS = {
    r"time limit is invalid": "The partition does not allow so much time. Ask for less.",
    r"configuration is not available|more processors requested|memory (specification|required)|"
    r"node count specification|too many tasks": "No node of the cluster has as much. Ask for less.",
    r"generic resource \(gres\)": "The cluster has no such device. Ask for another.",
    r"invalid account": "That account is not known, or may not be used there. Choose another.",
    r"invalid partition|partition name": "The cluster has no such partition. Choose another.",
    r"reservation": "That reservation is not there, or not for you. Leave it out.",
    r"violates accounting/QOS policy|QOS": "That is more than your limits on this cluster allow. "
    "Ask for less, or ask your operator.",
    r"not permitted|permission denied": "You may not use that partition. Choose another.",
}
