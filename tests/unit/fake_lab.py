"""A site whose scheduler lives in memory, and spawners on it without a hub."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from traitlets.config import Config

from labkit.errors import UsageError
from labkit.schedulers.base import (
    Access,
    Amounts,
    JobEnd,
    JobInfo,
    JobKind,
    JobResources,
    JobSpec,
    JobState,
    Outcome,
    Pool,
    PoolNode,
    Rights,
)
from labkit.settings import Profile, Site
from labkit_spawners.records import SessionRecords
from labkit_spawners.shared import Lab
from labkit_spawners.spawner import GpuSpawner
from labkit_spawners.watch import JobWatch

NOW = datetime(2026, 11, 23, tzinfo=UTC)
GB = 2**30
PROFILES = {
    "notebook": Profile(title="Notebook", cores=2, memory=4 * GB),
    "large": Profile(title="Large", cores=4, memory=12 * GB),
}


class FakeScheduler:
    """The protocol in memory: a test says when a job runs and how it ends."""

    look_every_s = -1.0
    """So that it is asked anew each time."""
    queries_a_minute = 1_000_000

    def __init__(self, memory_bytes: int = 16 * GB):
        self.memory_bytes = memory_bytes
        self.submitted: list[JobSpec] = []
        self.cancelled: list[str] = []
        self.extended: list[tuple[str, int]] = []
        self.waiting: dict[str, JobInfo] = {}
        self.ends: dict[str, JobEnd] = {}
        self.looks = 0
        self.asked_ends: list[list[str]] = []
        self.pools: list[Pool] | None = None
        self.allowed = Access()
        self.asked_rights: list[str | None] = []
        self.start: datetime | None = None
        self.asked_starts: list[JobSpec] = []
        self.fault: Exception | None = None
        """What every question is answered with."""
        self.when_asked: Callable[[], object] = lambda: None
        """Called at each question, so that a test can let things happen meanwhile."""

    async def submit(self, job: JobSpec) -> str:
        if job.resources.memory_bytes > self.memory_bytes:
            raise UsageError("The job asked for more memory than there is. Ask for less.")
        self.submitted.append(job)
        job_id = f"job-{len(self.submitted)}"
        self.waiting[job_id] = JobInfo(
            job_id=job_id,
            name=job.name,
            kind=job.kind,
            tag=job.tag,
            state=JobState.PENDING,
            submitted=NOW,
            resources=job.resources,
        )
        return job_id

    async def jobs(self) -> Mapping[str, JobInfo]:
        self.looks += 1
        self.when_asked()
        if self.fault:
            raise self.fault
        return dict(self.waiting)

    async def ended(self, job_ids: Collection[str]) -> Mapping[str, JobEnd]:
        self.asked_ends.append(sorted(job_ids))
        return {job_id: self.ends[job_id] for job_id in job_ids if job_id in self.ends}

    async def cancel(self, job_id: str, *, gently: bool = False) -> None:
        self.cancelled.append(job_id)
        if self.fault:
            raise self.fault
        if job_id in self.waiting:
            self.end(job_id, Outcome.CANCELLED)

    async def extend(self, job_id: str, walltime_s: int) -> None:
        if self.fault:
            raise self.fault
        self.extended.append((job_id, walltime_s))
        kept = self.waiting[job_id]
        assert kept.started
        self.waiting[job_id] = replace(kept, deadline=kept.started + timedelta(seconds=walltime_s))

    async def capacity(self) -> Sequence[Pool]:
        if self.fault:
            raise self.fault
        return self.pools or [pool(memory_bytes=self.memory_bytes)]

    async def rights(self, user: str | None = None) -> Rights:
        self.asked_rights.append(user)
        if self.fault:
            raise self.fault
        return lambda *_: self.allowed

    def beside(self, job_id: str, *, terminal: bool) -> list[str]:
        return ["beside", job_id]

    async def written(self, job: JobSpec) -> str:
        return " ".join(job.argv)

    async def expected_start(self, job: JobSpec) -> datetime | None:
        self.asked_starts.append(job)
        if self.fault:
            raise self.fault
        return self.start

    def set(self, job_id: str, state: JobState) -> None:
        kept = self.waiting[job_id]
        self.waiting[job_id] = JobInfo(**{**vars(kept), "state": state, "nodes": ("node7",)})

    def end(
        self,
        job_id: str,
        outcome: Outcome,
        exit_code: int | None = None,
        ended: datetime | None = None,
    ) -> None:
        self.waiting.pop(job_id, None)
        self.ends[job_id] = JobEnd(
            job_id=job_id,
            outcome=outcome,
            exit_code=exit_code,
            ended=ended or datetime.now(UTC),
        )


def job_info(job_id: str = "7", **others: Any) -> JobInfo:
    """A session's job that runs, but where something else is said."""
    given: dict[str, Any] = {
        "name": "labkit-session",
        "kind": JobKind.SESSION,
        "state": JobState.RUNNING,
        "submitted": NOW,
        "resources": JobResources(num_cpus=1, memory_bytes=GB),
    }
    return JobInfo(job_id=job_id, **{**given, **others})


def pool(
    *,
    memory_bytes: int = 16 * GB,
    num_gpus: int = 0,
    free_bytes: int | None = None,
    free_gpus: int | None = None,
    **others: Any,
) -> Pool:
    """A machine, all of it free but where something else is said."""
    free_bytes = memory_bytes if free_bytes is None else free_bytes
    free_gpus = num_gpus if free_gpus is None else free_gpus
    total = Amounts(num_cpus=8, memory_bytes=memory_bytes, num_gpus=num_gpus)
    free = Amounts(num_cpus=8, memory_bytes=free_bytes, num_gpus=free_gpus)
    given: dict[str, Any] = {
        "partition": "local",
        "accelerator": "nvidia" if num_gpus else "cpu",
        "device_name": "",
        "shares_cores": True,
    }
    return Pool(nodes=[PoolNode(name="here", total=total, free=free)], **{**given, **others})


def fake_lab(site: Site, scheduler: FakeScheduler, profiles=PROFILES) -> Lab:
    site = site.model_copy(update={"profiles": profiles})
    watches = {name: JobWatch(scheduler) for name in site.clusters}
    return Lab(site, SessionRecords(site.state / "sessions"), watches)


class SpawnerOfTest(GpuSpawner):
    """The spawner, with the lab of the test."""

    lab: Lab = None  # type: ignore[assignment]


def spawner_of(lab: Lab, name: str = "ana", **config: Any) -> SpawnerOfTest:
    """That person's spawner, as a hub that starts makes it: on a bare `Config()`, without a hub."""
    spawner = SpawnerOfTest(
        config=Config(GpuSpawner={"startup_poll_interval": 0.01, **config}),
        user=SimpleNamespace(name=name, url=f"/user/{name}/"),
        hub=SimpleNamespace(
            public_host="", base_url="/hub/", api_url="http://127.0.0.1:8081/hub/api"
        ),
        api_token=f"token-of-{name}",
    )
    spawner.lab = lab
    return spawner


async def until(condition: Callable[[], object]) -> None:
    """Let others go on until the condition holds. Fails after five seconds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)
