"""The scheduler `local`: this machine, with a queue of its own. The embedded default.

Jobs hold GPUs, memory and, where they are runs, cores for themselves alone, and wait in turn
for them. There is no daemon: a supervisor stands beside each job (`_local_supervisor`), and
every query and every end of a job moves the queue on (`_local_start`). All jobs run as the
Unix user of whoever submits, so it serves one person, or people who trust each other.

After a restart of the machine the queue stands still until the next query. Where the hub is
a service of systemd, it needs KillMode=process: else stopping the hub ends all jobs.
"""

import asyncio
import shlex
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from labkit.accelerators import ACCELERATORS
from labkit.accelerators.cpu import memory_bytes, num_cpus
from labkit.errors import UsageError
from labkit.parsing import MemoryBytes
from labkit.processes import send_signal
from labkit.schedulers._local_jobs import Job, Stage, leases, requests
from labkit.schedulers._local_queue import Machine, Request, forecast, needs, refusal
from labkit.schedulers._local_start import LOOK, advance
from labkit.schedulers._local_table import JobTable
from labkit.schedulers._local_view import as_time, describe, pools, used
from labkit.schedulers.base import (
    Access,
    DeviceHere,
    Finding,
    JobEnd,
    JobInfo,
    JobSpec,
    JobUse,
    Pool,
    Rights,
)
from labkit.units import format_duration

_MEMORY_SHARE = 0.9
"""The rest of the memory is for the system, the hub and what people run beside jobs."""


class LocalSettings(BaseModel):
    """What jobs may use of this machine; by default, all of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    num_cpus: int | None = Field(default=None, ge=1)
    """Cores for jobs; all that labkit may use where it is left out."""
    memory: MemoryBytes | None = Field(default=None, ge=2**20)
    """Memory for jobs, as in '16 GB'; 90% of what there is where it is left out."""
    accelerator: str | None = None
    """The kind of GPUs, as in 'nvidia'; found on the machine where it is left out."""
    num_gpus: int | None = Field(default=None, ge=0)
    """GPUs for jobs, the first ones; all that are found where it is left out."""


class LocalPlugin:
    Settings: type[BaseModel] = LocalSettings

    def open(self, settings: LocalSettings, state_folder: Path) -> "LocalScheduler":
        table = JobTable(state_folder / "jobs.sqlite")
        table.create()
        table.set_machine(machine_of(settings))
        return LocalScheduler(table)

    def devices(self, settings: LocalSettings) -> Sequence[DeviceHere]:
        machine = machine_of(settings)
        found = ACCELERATORS.load(machine.accelerator).devices() if machine.gpus else ()
        memory = {device.index: device.memory_bytes for device in found}
        gpus = [
            DeviceHere(accelerator=machine.accelerator, name=name, memory_bytes=memory.get(index))
            for index, name in machine.gpus
        ]
        processor = DeviceHere(
            accelerator="cpu", name=machine.cpu_name, memory_bytes=machine.memory_bytes
        )
        return [processor, *gpus]


class LocalScheduler:
    """Implements `Scheduler`. Each call does its work, some milliseconds, in a thread."""

    look_every_s = 1.0
    queries_a_minute = 1000

    def __init__(self, table: JobTable) -> None:
        self._table = table

    async def submit(self, job: JobSpec) -> str:
        return await asyncio.to_thread(self._submit, job)

    async def jobs(self) -> Mapping[str, JobInfo]:
        return await asyncio.to_thread(self._jobs)

    async def ended(self, job_ids: Collection[str]) -> Mapping[str, JobEnd]:
        return await asyncio.to_thread(self._ended, job_ids)

    async def used(self, job_ids: Collection[str]) -> Mapping[str, JobUse]:
        """Those of the last 90 days: earlier ones are forgotten."""
        return await asyncio.to_thread(self._used, job_ids)

    async def cancel(self, job_id: str, *, gently: bool = False) -> None:
        """A job that is not known here is no error: it does not run.

        The first process alone is asked in any case, and its supervisor ends the rest.
        """
        await asyncio.to_thread(self._cancel, job_id)

    async def extend(self, job_id: str, walltime_s: int) -> None:
        """Raises UsageError if the job has ended or has run for longer already."""
        await asyncio.to_thread(self._extend, job_id, walltime_s)

    async def capacity(self) -> Sequence[Pool]:
        return await asyncio.to_thread(self._capacity)

    async def rights(self, user: str | None = None) -> Rights:
        return lambda *_: Access()

    async def expected_start(self, job: JobSpec) -> datetime | None:
        """The latest that it can be; now, if it would start at once. Raises as `submit` does."""
        return await asyncio.to_thread(self._expected_start, job)

    def beside(self, job_id: str, *, terminal: bool) -> list[str]:
        return []

    async def written(self, job: JobSpec) -> str:
        return shlex.join(job.argv)

    async def check(
        self, cluster: str, profiles: Mapping[str, JobSpec], hub_user: str
    ) -> Sequence[Finding]:
        machine = await asyncio.to_thread(self._table.machine)
        return [
            Finding(key=f"profiles.{name}", found=f"on the cluster {cluster!r}", fix=why or "")
            for name, why in ((name, refusal(job, machine)) for name, job in profiles.items())
        ]

    async def named(self) -> Access:
        return Access()

    def _submit(self, spec: JobSpec) -> str:
        if spec.software:
            raise UsageError("'software' was asked; the scheduler 'local' has this Python alone.")
        _refuse(spec, self._table.machine())
        job_id = self._table.add(spec)
        with suppress(sqlite3.OperationalError):  # it is in the queue: the next query starts it
            advance(self._table)
        return job_id

    def _jobs(self) -> dict[str, JobInfo]:
        advance(self._table)
        return describe(self._table.live(), self._table.machine(), time.time())

    def _ended(self, job_ids: Collection[str]) -> dict[str, JobEnd]:
        advance(self._table)
        return {
            job_id: JobEnd(
                job_id=job_id,
                outcome=end.outcome,
                exit_code=end.exit_code,
                ended=datetime.fromtimestamp(ended, UTC),
                reason=end.reason,
            )
            for job_id, (end, ended) in self._table.ends(job_ids).items()
        }

    def _used(self, job_ids: Collection[str]) -> dict[str, JobUse]:
        spans = self._table.spans(job_ids)
        return {job.job_id: used(job, held_s) for job, held_s in spans}

    def _cancel(self, job_id: str) -> None:
        self._tell(self._table.cancel(job_id))
        advance(self._table)

    def _extend(self, job_id: str, walltime_s: int) -> None:
        job = self._table.get(job_id)
        if job is None or job.stage not in (Stage.PENDING, Stage.STARTING, Stage.RUNNING):
            raise UsageError(f"Job {job_id} does not run any more. Submit it anew.")
        run_s = time.time() - job.started if job.started else 0
        if walltime_s <= run_s:
            raise UsageError(
                f"{format_duration(walltime_s)} asked; job {job_id} has run for "
                f"{format_duration(run_s)}. Ask for more than that, or cancel it."
            )
        self._table.set_walltime(job_id, walltime_s)
        self._tell(job)

    def _capacity(self) -> list[Pool]:
        advance(self._table)
        return pools(self._table.live(), self._table.machine())

    def _expected_start(self, spec: JobSpec) -> datetime | None:
        advance(self._table)
        jobs, machine = self._table.live(), self._table.machine()
        _refuse(spec, machine)
        new = Request(job_id="", needs=needs(spec), walltime_s=spec.walltime_s)
        starts = forecast([*requests(jobs), new], leases(jobs), machine, time.time())
        return as_time(starts.get(new.job_id))

    def _tell(self, job: Job | None) -> None:
        """Have the job's supervisor read its row now. It does so anyway after some seconds."""
        if job and job.supervisor and job.stage in (Stage.RUNNING, Stage.ENDING):
            send_signal(job.supervisor, LOOK)


def machine_of(settings: LocalSettings) -> Machine:
    """What there is to lease: what the settings say, and else what is found."""
    accelerator, gpus = _gpus(settings)
    share = int(memory_bytes() * _MEMORY_SHARE)
    return Machine(
        num_cpus=settings.num_cpus or num_cpus(),
        memory_bytes=settings.memory or share,
        cpu_name=ACCELERATORS.load("cpu").devices()[0].name,
        accelerator=accelerator,
        gpus=gpus,
    )


def _gpus(settings: LocalSettings) -> tuple[str, tuple[tuple[int, str], ...]]:
    """Their kind, and the index and name of each. Raises UsageError where the kind is not known."""
    if settings.num_gpus == 0 or settings.accelerator == "cpu":
        return "cpu", ()
    kind = settings.accelerator or _kind_found()
    if kind is None and settings.num_gpus:
        raise UsageError(
            f"num_gpus = {settings.num_gpus}, but no GPU is found on this machine. {_missing()}"
            "Where labkit does not see them, name their kind: accelerator = 'nvidia'."
        )
    if kind is None:
        return "cpu", ()
    accelerator = ACCELERATORS.load(kind)
    names = {device.index: device.name for device in accelerator.devices()}
    count = settings.num_gpus
    indices = (
        list(names) if count is None else [*names, *(i for i in range(count) if i not in names)]
    )
    return kind, tuple((index, names.get(index, accelerator.title)) for index in indices[:count])


def _kind_found() -> str | None:
    kinds = (name for name in ACCELERATORS.names() if name != "cpu")
    return next((name for name in kinds if ACCELERATORS.load(name).devices()), None)


def _missing() -> str:
    return "".join(f"{text} " for a in ACCELERATORS.all().values() if (text := a.missing()))


def _refuse(spec: JobSpec, machine: Machine) -> None:
    if why := refusal(spec, machine):
        raise UsageError(why)


SCHEDULER = LocalPlugin()
