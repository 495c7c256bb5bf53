"""Into a Ray job that runs: a shell, or any command, with its cluster's address and secret.

The command runs on the job's first node, through the scheduler, which lets the job's owner
alone in. So no port is opened for it, and the secret stays where it is.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from labkit.clusters import open_cluster
from labkit.errors import LabkitError
from labkit.raycluster.network import answers
from labkit.raycluster.ray_start import ray_environment
from labkit.rayjobs.record import RayJob, read_job
from labkit.rayjobs.view import RayJobState, view_jobs
from labkit.settings import Site

DASHBOARD_WAIT_S = 30


async def command_beside(
    site: Site, job: RayJob, command: Sequence[str], *, terminal: bool
) -> list[str]:
    """What to run here, for the command to run there. Raises LabkitError while there is no cluster.

    `terminal`: it has the terminal of whoever runs it.
    """
    (view,) = await view_jobs(site, [job])
    if view.state is not RayJobState.RUNNING:
        raise LabkitError(
            f"{job.name} is {view.state}: there is no cluster to attach to. {view.message}".strip()
        )
    enter = [sys.executable, "-P", "-m", "labkit", "ray", "enter", str(job.folder), "--", *command]
    return [*open_cluster(site, job.cluster).beside(job.job_id, terminal=terminal), *enter]


def enter(folder: Path, command: Sequence[str]) -> None:
    """Become the command, on the job's first node. Raises LabkitError."""
    job = read_job(folder)
    environment = {**os.environ, **_environment(job)}
    os.chdir(job.workdir)
    command = command or [os.environ.get("SHELL", "/bin/sh")]
    try:
        os.execvpe(command[0], list(command), environment)
    except OSError as error:
        raise LabkitError(f"{command[0]} cannot be run there: {error.strerror}.") from error


def _environment(job: RayJob) -> Mapping[str, str]:
    head = job.meeting.head()
    if head is None or job.meeting.closed:
        raise LabkitError(f"{job.name} has ended.")
    deadline = time.monotonic() + DASHBOARD_WAIT_S
    while head.dashboard and not answers(head.dashboard) and time.monotonic() < deadline:
        time.sleep(0.1)
    address = head.address.rpartition(":")[0]
    return {**ray_environment(Path(head.temp), job.meeting.token, address), **head.environment}
