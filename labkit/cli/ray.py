"""`labkit ray …`: any Ray script as a job, on a private Ray cluster of its own."""

import asyncio
import shlex
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter
from pydantic import ConfigDict, create_model

from labkit.cli.output import AsJson, print_fields, print_json, print_table, say
from labkit.cli.start import RUN_ON, flag, flags_of
from labkit.clusters import Looks, open_cluster
from labkit.errors import LabkitError, UsageError
from labkit.eventloop import finish
from labkit.parsing import parse
from labkit.rayjobs.attach import command_beside
from labkit.rayjobs.attach import enter as enter_job
from labkit.rayjobs.launch import Launch, job_spec, plan_launch, submit_launch
from labkit.rayjobs.record import RayJob, find_job, jobs_folder, list_jobs
from labkit.rayjobs.view import RayJobState, RayJobView, stop_job, view_jobs
from labkit.resources import Resources
from labkit.settings import Site, load_site
from labkit.units import format_duration, format_memory

app = App(name="ray", help="Any Ray script as a job, on a private Ray cluster of its own.")

JobName = Annotated[str, Parameter(help="A Ray job's id, the start of one, its name, or 'last'.")]
Command = Annotated[str, Parameter(allow_leading_hyphen=True, help="What to run, behind '--'.")]
_ABOUT = {
    "gpus_per_node": "GPUs on each node.",
    "memory": "Memory on each node, as in '8 GB'; the part of a node's that its cores are of all "
    "its cores, where it is left out.",
    "time": "The longest that the job may take, as in '45m' or '8h'.",
}
_Flags = create_model(
    "_Flags", __config__=ConfigDict(extra="forbid"), **flags_of(Resources, RUN_ON, _ABOUT)
)
_JOB = Group("The job", sort_key=1)


@app.command
def launch(
    *command: Command,
    flags: Annotated[_Flags | None, Parameter(name="*")] = None,  # type: ignore[valid-type]
    name: Annotated[
        str, Parameter(group=_JOB, help="What the job is called; else as its script.")
    ] = "",
    env: Annotated[
        list[str] | None,
        Parameter(group=_JOB, negative=(), help="A variable of your environment to hand on."),
    ] = None,
    wait: Annotated[
        bool, Parameter(group=_JOB, negative=(), help="Print its log until it ends.")
    ] = False,
    dry_run: Annotated[
        bool, Parameter(group=_JOB, negative=(), help="Check all, print the job, start nothing.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Run a command on a private Ray cluster: `ray.init()` in it needs no argument.

    The command runs in the folder that you are in, which lies on a file system that all nodes
    see; nothing is uploaded.
    """
    site = load_site()
    given: dict[str, Any] = flags.model_dump(exclude_none=True) if flags else {}  # type: ignore[union-attr]
    asked = parse(Resources, given, source="the command line", shown=flag)
    planned = finish(plan_launch(site, command, asked, name=name, variables=env or ()))
    if dry_run:
        _dry_run(site, planned, as_json=json)
        return 0
    job = finish(submit_launch(site, planned))
    if wait:
        return _follow(site, job)
    if json:
        print_json({"ray_job": job.ray_job_id, "name": job.name, "folder": str(job.folder)})
    else:
        say(f"Launched {job.ray_job_id}. Follow it with: labkit ray logs -f {job.ray_job_id}")
    return 0


def _dry_run(site: Site, launch: Launch, *, as_json: bool) -> None:
    spec = job_spec(site, launch, jobs_folder(site) / "planned")
    written = finish(open_cluster(site, launch.cluster).written(spec))
    if as_json:
        known = {
            key: value for key, value in vars(launch).items() if key not in ("environment", "asked")
        }
        print_json({**known, "variables": sorted(launch.environment), "job": written})
        return
    asked = launch.resources
    each = "" if asked.num_nodes == 1 else " each"
    print_fields(
        {
            "command": shlex.join(launch.command),
            "folder": launch.workdir,
            "variables": ", ".join(sorted(launch.environment)),
            "nodes": f"{asked.num_nodes} on {launch.cluster!r}, {asked.num_cpus} cores, "
            f"{format_memory(asked.memory_bytes)}, {asked.num_gpus} GPUs{each}",
            "time": f"at most {format_duration(launch.asked.time)}",
            "starts": _moment(launch.expected_start) or "when there is room",
        }
    )
    say(f"\n{written}")


def _follow(site: Site, job: RayJob) -> int:
    from labkit.cli.follow import follow_log

    looks = Looks(site)

    def ended() -> bool:
        (view,) = finish(view_jobs(site, [job], looks))
        return view.state.ended

    try:
        follow_log(job.log, ended)
    except KeyboardInterrupt:
        say(
            f"\nThe job goes on without you. End it: labkit ray stop {job.ray_job_id}",
            to_stderr=True,
        )
        return 130
    (view,) = finish(view_jobs(site, [job]))
    if view.state is not RayJobState.DONE:
        say(view.message, to_stderr=True)
    return 0 if view.state is RayJobState.DONE else 1


@app.command(name="list")
def list_(*, json: AsJson = False) -> None:
    """All your Ray jobs, the newest first."""
    site = load_site()
    jobs, damaged = list_jobs(site)
    views = finish(view_jobs(site, jobs))
    if json:
        print_json([view.to_dict() for view in views])
    elif views:
        print_table(
            ["Ray job", "name", "state", "nodes", "now"],
            [(v.job.ray_job_id, v.job.name, v.state, v.job.resources.num_nodes, v.message)
             for v in views],
            rest="now",
        )  # fmt: skip
    elif not damaged:
        say("No Ray jobs yet. Launch one with: labkit ray launch --nodes 2 -- python train.py")
    for error in damaged:
        say(str(error), mark="!", style="yellow", to_stderr=True)


@app.command
def status(job: JobName, *, json: AsJson = False) -> int:
    """Where a Ray job is: why it waits, on which nodes it runs, how it ended."""
    site = load_site()
    found = find_job(site, job)
    (view,) = finish(view_jobs(site, [found]))
    if json:
        print_json(view.to_dict())
    else:
        _show(view)
    return 1 if view.state is RayJobState.FAILED else 0


def _show(view: RayJobView) -> None:
    job = view.job
    fields = {
        "Ray job": job.ray_job_id,
        "name": job.name,
        "state": view.state,
        "": view.message,
        "command": shlex.join(job.command),
        "folder": job.workdir,
        "on": ", ".join(view.nodes),
        "until": _moment(view.deadline),
        "cluster": f"{job.cluster}, job {job.job_id}",
        "log": job.log,
    }
    print_fields({key: value for key, value in fields.items() if value})


def _moment(when: datetime | None) -> str:
    return f"{when.astimezone():%a %H:%M}" if when else ""


@app.command
def logs(
    job: JobName,
    *,
    follow: Annotated[
        bool, Parameter(name=["--follow", "-f"], negative=(), help="Go on until the job ends.")
    ] = False,
) -> int:
    """What a Ray job's processes printed."""
    from labkit.cli.follow import follow_log

    site = load_site()
    found = find_job(site, job)
    if follow:
        return _follow(site, found)
    follow_log(found.log, None)
    return 0


@app.command
def attach(job: JobName, *command: Command) -> int:
    """A shell, or a command, beside a Ray job that runs: `labkit ray attach last -- ray status`.

    It runs on the job's first node with the cluster's address and secret, for you alone.
    `ray job submit -- python more.py` works there, too.
    """
    site = load_site()
    found = find_job(site, job)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if not command and not terminal:
        raise UsageError("A shell needs a terminal. Name a command: labkit ray attach JOB -- …")
    beside = asyncio.run(command_beside(site, found, command, terminal=terminal))
    return subprocess.run(beside).returncode


@app.command
def stop(job: JobName) -> None:
    """Ask the command to end; it has a minute to save its work."""
    site = load_site()
    found = find_job(site, job)
    if finish(stop_job(site, found)):
        say(f"Asked {found.ray_job_id} to end.")
    else:
        say(f"{found.ray_job_id} does not run. See: labkit ray status {found.ray_job_id}")


@app.command
def delete(job: JobName) -> None:
    """Remove what is kept of a Ray job that has ended: its record and its log."""
    site = load_site()
    found = find_job(site, job)
    (view,) = finish(view_jobs(site, [found]))
    if not view.state.ended and view.state is not RayJobState.UNKNOWN:
        raise LabkitError(f"{found.name} is {view.state}. Stop it first: labkit ray stop {job}")
    shutil.rmtree(found.folder)
    say(f"Deleted {found.ray_job_id}.")


@app.command(show=False)
def enter(folder: Path, *command: Command) -> None:
    """Hidden: what `attach` runs on the job's first node."""
    enter_job(folder, command)
