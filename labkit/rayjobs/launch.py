"""From a command to a job: what can be known is checked before it waits in a queue."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from labkit.clusters import open_cluster
from labkit.errors import UsageError
from labkit.naming import check_name
from labkit.paths import here
from labkit.place import cores_of, find_pool
from labkit.raycluster.job import node_command
from labkit.rayjobs.record import RayJob, jobs_folder, new_job
from labkit.resources import Resources
from labkit.schedulers.base import JobKind, JobResources, JobSpec, Pool
from labkit.settings import Site, claim_folders

GRACE_S = 60
"""How long the command may take to save its work when it is asked to end."""
HANDED_ON = ("PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "PYTHONPATH")
"""Variables of whoever launches that make their programs and libraries found; no others are."""
_PYTHON = re.compile(r"python[\d.]*")
_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
_PROBE = "import json, sys, ray; print(json.dumps([sys.prefix, ray.__version__]))"
_PROBE_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A command that was checked, with what it would run on."""

    name: str
    command: Sequence[str]
    workdir: Path
    environment: Mapping[str, str]
    cluster: str
    resources: JobResources
    asked: Resources
    expected_start: datetime | None
    """None where the scheduler cannot know."""


async def plan_launch(
    site: Site,
    command: Sequence[str],
    asked: Resources,
    *,
    name: str = "",
    variables: Sequence[str] = (),
) -> Launch:
    """Check the command and what is asked; nothing is written.

    `variables` names those of the environment that the command is given besides `HANDED_ON`.
    Raises UsageError where something is not there, or asks for more than there is.
    """
    if find_spec("ray") is None:
        raise UsageError(f"Ray is not in {sys.prefix}. Install it: pip install 'labkit[ray]'")
    workdir = here()
    command = _checked(command, workdir)
    missing = [variable for variable in variables if variable not in os.environ]
    if missing:
        raise UsageError(f"No variable {missing[0]} is set here. Set it, or leave out --env.")
    cluster, _ = site.cluster(asked.cluster)
    scheduler = open_cluster(site, cluster)
    resources = _resources(await find_pool(scheduler, asked, cluster), asked)
    handed = {key: os.environ[key] for key in (*HANDED_ON, *variables) if key in os.environ}
    launch = Launch(
        name=check_name(name, "Ray job") if name else _name_of(command),
        command=command,
        workdir=workdir,
        environment={**site.job_environment(), **handed, "PYTHONUNBUFFERED": "1"},
        cluster=cluster,
        resources=resources,
        asked=asked,
        expected_start=None,
    )
    start = await scheduler.expected_start(job_spec(site, launch, jobs_folder(site) / "planned"))
    return replace(launch, expected_start=start)


async def submit_launch(site: Site, launch: Launch) -> RayJob:
    """Keep a record and queue the job."""
    claim_folders(site)
    job = new_job(
        site,
        name=launch.name,
        command=launch.command,
        workdir=launch.workdir,
        cluster=launch.cluster,
        resources=launch.resources,
        walltime_s=launch.asked.time,
    )
    try:
        spec = job_spec(site, launch, job.folder)
        job = replace(job, job_id=await open_cluster(site, job.cluster).submit(spec))
    except BaseException:
        shutil.rmtree(job.folder)
        raise
    job.write()
    return job


def job_spec(site: Site, launch: Launch, folder: Path) -> JobSpec:
    """The job: `labkit node`, which runs the command on its head. `folder` is its record's."""
    node = node_command(site, launch.resources, folder / "cluster", grace_s=GRACE_S)
    return JobSpec(
        name=folder.name,
        kind=JobKind.RAY,
        argv=[*node, "--dashboard", f"--workdir={launch.workdir}", "--", *launch.command],
        others=node if launch.resources.num_nodes > 1 else [],
        folder=launch.workdir,
        log=folder / "log.txt",
        resources=launch.resources,
        walltime_s=launch.asked.time,
        **launch.asked.placed,
        environment=launch.environment,
        grace_s=GRACE_S,
    )


def _checked(command: Sequence[str], workdir: Path) -> list[str]:
    """The command with its program's whole path. Raises UsageError where it cannot run."""
    if not command:
        raise UsageError(
            "A command is needed, behind '--': labkit ray launch --nodes 2 -- python train.py"
        )
    program = shutil.which(command[0])
    if program is None:
        raise UsageError(
            f"No program {command[0]!r} is here that you may run. For a script, say what runs "
            f"it: labkit ray launch -- python {command[0]}"
        )
    # Not resolved: a venv's python is a link, and knows by it where its packages are.
    program = str(workdir / program)
    if _PYTHON.fullmatch(Path(program).name):
        _require_script(_script_of(command[1:]), workdir)
        _require_same_python(program)
    return [program, *command[1:]]


def _script_of(arguments: Sequence[str]) -> str | None:
    """The file that a Python of these arguments runs; None where it runs none."""
    rest = iter(arguments)
    for argument in rest:
        if argument in _WITH_VALUE:
            next(rest, None)
        elif argument == "-" or argument.startswith(("-m", "-c")):
            return None
        elif not argument.startswith("-"):
            return argument
    return None


def _require_script(script: str | None, workdir: Path) -> None:
    if script is None:
        return
    path = workdir / script
    if not path.exists():
        raise UsageError(f"There is no file {path}. Name the script to run.")
    if not os.access(path, os.R_OK):
        raise UsageError(f"You may not read {path}. Give yourself the right: chmod u+r {path}")


def _require_same_python(program: str) -> None:
    """Ray's workers run in labkit's own environment: another's packages would be missing there."""
    try:
        asked = subprocess.run(
            [program, "-P", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{program} does not run: {error}") from error
    if asked.returncode:
        said = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UsageError(
            f"{program} cannot import ray ({said}). Install it there: "
            f"{program} -m pip install 'labkit[ray]'"
        )
    prefix, version = json.loads(asked.stdout.splitlines()[-1])
    if Path(prefix) != Path(sys.prefix):
        raise UsageError(
            f"Your script runs in {prefix} (ray {version}), and Ray's workers would run in "
            f"{sys.prefix}, without its packages. Launch with the labkit of your script's "
            f"environment: {program} -m pip install 'labkit[ray]', then "
            f"{program} -m labkit ray launch …"
        )


def _name_of(command: Sequence[str]) -> str:
    python = _PYTHON.fullmatch(Path(command[0]).name)
    script = _script_of(command[1:]) if python else command[0]
    return Path(script or "ray").stem[:40]


def _resources(pool: Pool, asked: Resources) -> JobResources:
    """Where they are left out: all cores of a node, and as large a part of its memory."""
    num_cpus = asked.cpus_per_node or cores_of(pool, asked)
    share = min(
        node.total.memory_bytes * min(num_cpus, node.total.num_cpus) // node.total.num_cpus
        for node in pool.nodes
        if node.total.num_cpus
    )
    return JobResources(
        num_cpus=num_cpus,
        memory_bytes=asked.memory or share,
        num_gpus=asked.gpus_per_node,
        accelerator=pool.accelerator if asked.gpus_per_node else "cpu",
        num_nodes=asked.nodes,
    )
