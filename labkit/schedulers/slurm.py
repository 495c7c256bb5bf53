"""The scheduler `slurm`: a supercomputer's own, by its commands.

It submits as the Unix user that it runs as. Slurm 22.05 and 24.11 are both read: only
formats that both have are asked for (`squeue -o`, `sacct --parsable2`, `scontrol --oneliner`).
"""

import os
import re
import secrets
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from labkit.errors import LabkitError
from labkit.parsing import Seconds
from labkit.paths import private_folder, write_json
from labkit.schedulers._slurm_access import (
    parse_associations,
    parse_permits,
    parse_reservations,
    rights,
)
from labkit.schedulers._slurm_check import check_names, check_profile, check_slurm
from labkit.schedulers._slurm_commands import Slurm, SlurmError
from labkit.schedulers._slurm_facts import COMMANDS, ask_facts
from labkit.schedulers._slurm_nodes import parse_nodes, parse_partitions, pools
from labkit.schedulers._slurm_software import command, in_image, module_lines
from labkit.schedulers._slurm_software_check import unusable
from labkit.schedulers._slurm_submit import arguments, others_step, refusal, script
from labkit.schedulers._slurm_use import FIELDS as USE_FIELDS
from labkit.schedulers._slurm_use import parse_used
from labkit.schedulers._slurm_view import (
    Place,
    parse_ends,
    parse_queue,
    parse_time,
    places,
    queue_format,
)
from labkit.schedulers.base import (
    Access,
    Finding,
    JobEnd,
    JobInfo,
    JobSpec,
    JobUse,
    Pool,
    Rights,
)
from labkit.settings import Software

_USER = re.compile(r"[A-Za-z0-9_][\w.-]*\$?")
_JOB_ID = re.compile(r"\d{1,18}")


class SlurmSettings(BaseModel):
    """How this site's Slurm is reached, and what its jobs begin with."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    conf: Path | None = None
    """Slurm's own slurm.conf; left out, Slurm finds it."""
    commands: Path | None = None
    """The folder of Slurm's commands; left out, the PATH is looked through."""
    partition: str = Field(default="", pattern=r"^[\w.-]*$")
    """The partition of jobs that name none; left out, Slurm's default."""
    account: str = Field(default="", pattern=r"^[\w.-]*$")
    """The account of jobs that name none; left out, the person's default."""
    software: Software = Software()
    """Modules, Python or image of the jobs of profiles that name none."""
    prologue: list[str] = []
    """Lines of shell at the start of each job, as in 'module load cuda'."""
    accelerators: dict[str, str] = {}
    """The kind of accelerator of each type of device that is not NVIDIA's, as in mi300x = 'amd'."""
    share_nodes: bool = False
    """Whether other people's jobs may be on the nodes of a run or Ray job that has several. The
    channels by which torch's workers exchange gradients (gloo, NCCL) have no secret."""
    timeout: Seconds = Field(default=10, ge=1, le=120)
    """How long Slurm may take to answer."""
    queries_a_minute: int = Field(default=12, ge=6, le=600)
    """How many questions the hub may ask of Slurm in a minute, however many sessions there are."""


class SlurmPlugin:
    Settings: type[BaseModel] = SlurmSettings

    def open(self, settings: SlurmSettings, state_folder: Path) -> "SlurmScheduler":
        environment = {"SLURM_CONF": str(settings.conf)} if settings.conf else {}
        slurm = Slurm(folder=settings.commands, timeout_s=settings.timeout, environment=environment)
        return SlurmScheduler(slurm, settings)


class SlurmScheduler:
    """Implements `Scheduler`."""

    def __init__(self, slurm: Slurm, settings: SlurmSettings) -> None:
        self.queries_a_minute = settings.queries_a_minute
        self.look_every_s = 180 / settings.queries_a_minute  # leaves two of three for changes
        self._slurm = slurm
        self._settings = settings

    async def submit(self, job: JobSpec) -> str:
        job = self._placed(job)
        software = job.software or self._settings.software
        job_file = _write_job_file(job, software)
        text = self._script(software, job_file)
        try:
            printed = await self._sbatch(job, *self._arguments(job), text=text)
        except BaseException:
            job_file.unlink(missing_ok=True)
            raise
        return _job_id(printed)

    async def jobs(self) -> Mapping[str, JobInfo]:
        mark = secrets.token_hex(8)
        text = await self._slurm.run("squeue", "--noheader", "-o", queue_format(mark))
        found = parse_queue(text, mark)
        place = places(found)
        return {job.info.job_id: _in_place(job.info, place) for job in found if job.ours}

    async def ended(self, job_ids: Collection[str]) -> Mapping[str, JobEnd]:
        ids = [job_id for job_id in job_ids if _JOB_ID.fullmatch(job_id)]
        if not ids:
            return {}
        asked = f"--jobs={','.join(ids)}"
        try:
            text = await self._slurm.run(
                "sacct", "--noheader", "--parsable2", "--allocations", asked,
                "--format=JobIDRaw,State,ExitCode,End",
            )  # fmt: skip
        except SlurmError:  # the database is down: the controller knows those of some minutes
            text = await self._slurm.run(
                "squeue", "--noheader", "--states=all", asked, "--format=%A|%T||%e"
            )
        return {end.job_id: end for end in parse_ends(text) if end.job_id in ids}

    async def used(self, job_ids: Collection[str]) -> Mapping[str, JobUse]:
        ids = [job_id for job_id in job_ids if _JOB_ID.fullmatch(job_id)]
        if not ids:
            return {}
        text = await self._slurm.run(
            "sacct", "--noheader", "--parsable2", "--duplicates", f"--jobs={','.join(ids)}",
            f"--format={USE_FIELDS}",
        )  # fmt: skip
        return parse_used(text)

    async def cancel(self, job_id: str, *, gently: bool = False) -> None:
        """One that has ended is no error.

        Not gently, all of its processes are asked at once, Ray's workers too, and its grace is
        Slurm's KillWait.
        """
        if not _JOB_ID.fullmatch(job_id):
            return
        try:
            await self._slurm.run(
                "scancel", *(["--batch", "--signal=TERM"] if gently else []), job_id
            )
        except SlurmError as error:
            if "invalid job id" not in error.said.lower():
                raise

    async def extend(self, job_id: str, walltime_s: int) -> None:
        minutes = -(-walltime_s // 60)
        await self._slurm.run("scontrol", "update", f"JobId={job_id}", f"TimeLimit={minutes}")

    async def capacity(self) -> Sequence[Pool]:
        nodes = await self._slurm.run("scontrol", "--oneliner", "show", "node")
        partitions = await self._slurm.run("scontrol", "--oneliner", "show", "partition")
        return pools(
            parse_nodes(nodes),
            parse_partitions(partitions),
            self._settings.accelerators,
            self._settings.partition,
        )

    async def rights(self, user: str | None = None) -> Rights:
        if user and not _USER.fullmatch(user):
            return lambda *_: Access()
        whose = [f"users={user}"] if user else []
        partitions = await self._slurm.run("scontrol", "--oneliner", "show", "partition")
        reservations = await self._slurm.run("scontrol", "--oneliner", "show", "reservation")
        try:
            associations = await self._slurm.run(
                "sacctmgr", "--noheader", "--parsable2", "show", "associations", *whose,
                "format=User,Account,Partition,QOS",
            )  # fmt: skip
        except SlurmError as error:
            if "accounting_storage plugin" not in error.said:
                raise
            associations = ""  # a cluster that knows no accounts
        return rights(
            parse_associations(associations),
            parse_permits(partitions),
            parse_reservations(reservations),
        )

    async def expected_start(self, job: JobSpec) -> datetime | None:
        job = self._placed(job)
        said = await self._sbatch(job, "--test-only", *self._arguments(job), text="#!/bin/sh\n")
        found = re.search(r"to start at (\S+)", said)
        return parse_time(found[1]) if found else None

    async def check(
        self, cluster: str, profiles: Mapping[str, JobSpec], hub_user: str
    ) -> Sequence[Finding]:
        key = f"clusters.{cluster}"
        if missing := [name for name in COMMANDS if not self._slurm.find(name)]:
            folder = self._settings.commands or os.environ.get("PATH", "")
            fix = f"They are not in {folder}. Name the folder of Slurm's commands."
            return [Finding(key=f"{key}.commands", found=f"no {', '.join(missing)}", fix=fix)]
        try:
            facts = await ask_facts(self._slurm, hub_user)
        except SlurmError as error:
            conf = self._settings.conf or "left out: Slurm finds its own slurm.conf"
            fix = f"{error} Name the slurm.conf of this cluster, and see whether slurmctld runs."
            return [Finding(key=f"{key}.conf", found=str(conf), fix=fix)]
        found = [*check_slurm(facts, hub_user)]
        found += check_names(facts, cluster, self._settings.partition, self._settings.account)
        for name, job in profiles.items():
            found += check_profile(facts, name, self._placed(job))
        return found

    async def named(self) -> Access:
        facts = await ask_facts(self._slurm, "")
        return Access(
            partitions=list(facts.partitions),
            accounts=facts.accounts or (),
            reservations=facts.reservations,
        )

    async def unusable_software(self, job: JobSpec) -> Sequence[tuple[str, str]]:
        software = job.software or self._settings.software
        return [found async for found in unusable(software, self._settings.prologue)]

    def beside(self, job_id: str, *, terminal: bool) -> list[str]:
        if not _JOB_ID.fullmatch(job_id):
            raise LabkitError(f"{job_id!r} is no job of Slurm's.")
        return [
            *("env", *(f"{key}={value}" for key, value in self._slurm.environment.items())),
            self._slurm.find("srun") or "srun",
            f"--jobid={job_id}",
            "--overlap",
            *("--nodes=1", "--ntasks=1", "--relative=0"),
            "--mpi=none",
            "--export=ALL",
            *(["--pty"] if terminal else []),
        ]

    async def written(self, job: JobSpec) -> str:
        job = self._placed(job)
        software = job.software or self._settings.software
        text = self._script(software, job.log.with_name("FILE.job"))
        runs = [command(software, job), others_step(job)]
        lines = [f"# FILE.job: {shlex.join(argv)}" for argv in runs if argv]
        return "\n".join([shlex.join(["sbatch", *self._arguments(job)]), "", text, *lines])

    def _arguments(self, job: JobSpec) -> list[str]:
        return arguments(job, share_nodes=self._settings.share_nodes)

    def _script(self, software: Software, job_file: Path) -> str:
        lines = [*self._settings.prologue, *module_lines(software)]
        return script(lines, sys.executable, job_file)

    def _placed(self, job: JobSpec) -> JobSpec:
        settings = self._settings
        return replace(
            job,
            partition=job.partition or settings.partition,
            account=job.account or settings.account,
        )

    async def _sbatch(self, job: JobSpec, *given: str, text: str) -> str:
        try:
            return await self._slurm.run("sbatch", *given, text=text)
        except SlurmError as error:
            raise (refusal(job, error.said) or error) from None


def _in_place(job: JobInfo, places: Mapping[str, Place]) -> JobInfo:
    place = places.get(job.job_id)
    return replace(job, place=place.number, people_before=place.people_before) if place else job


def _write_job_file(job: JobSpec, software: Software) -> Path:
    """What the job becomes, in a file for its owner alone, beside its log.

    Those of earlier jobs with the same log go: one that still waits was replaced by this. A job
    that may be started again keeps its file until then; it lies in the job's folder, by its name.
    """
    again = job.restart_until is not None
    folder, name = (
        (job.folder, job.name) if again else (private_folder(job.log.parent), job.log.stem)
    )
    for earlier in folder.glob(f".{name}-*.job"):
        earlier.unlink(missing_ok=True)
    # Slurm would make the log with the mode that its own umask leaves.
    os.close(os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    file = folder / f".{name}-{secrets.token_hex(8)}.job"
    what = {
        "argv": command(software, job),
        "others": others_step(job),
        "environment": dict(job.environment),
        "in_image": in_image(software, job),
        "restart_until": str(job.restart_until) if again else None,
    }
    write_json(file, what)
    return file


def _job_id(printed: str) -> str:
    """Of sbatch --parsable: 'id', or 'id;cluster'."""
    job_id = printed.strip().partition(";")[0]
    if not _JOB_ID.fullmatch(job_id):
        raise LabkitError(f"Slurm took the job and answered {printed!r}, which is no job id.")
    return job_id


SCHEDULER = SlurmPlugin()
