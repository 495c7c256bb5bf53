"""A Ray job as its owner sees it: the scheduler's word, and whether its cluster is up."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from labkit.clusters import Looks, Said, open_cluster, waits_in_words
from labkit.rayjobs.record import RayJob, to_dict
from labkit.schedulers.base import JobEnd, JobInfo, JobState, Outcome
from labkit.settings import Site


class RayJobState(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    ENDING = "ending"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        return self in (RayJobState.DONE, RayJobState.STOPPED, RayJobState.FAILED)


@dataclass(frozen=True, kw_only=True)
class RayJobView:
    job: RayJob
    state: RayJobState
    message: str = ""
    """Why it waits, or how it ended."""
    nodes: Sequence[str] = field(default_factory=tuple)
    deadline: datetime | None = None
    exit_code: int | None = None

    def to_dict(self) -> dict[str, Any]:
        said = {key: value for key, value in vars(self).items() if key != "job"}
        return {**to_dict(self.job), **said}


async def view_jobs(
    site: Site, jobs: Sequence[RayJob], looks: Looks | None = None
) -> list[RayJobView]:
    """All of those, with one question to each cluster. Who looks often gives its `looks`."""
    said = await (looks or Looks(site)).ask((job.cluster, job.job_id) for job in jobs)
    return [_view(job, said[job.cluster]) for job in jobs]


def _view(job: RayJob, said: Said) -> RayJobView:
    if said.silent:
        return RayJobView(job=job, state=RayJobState.UNKNOWN, message=said.silent)
    return shown(job, said.jobs.get(job.job_id), said.ends.get(job.job_id))


def shown(job: RayJob, info: JobInfo | None, end: JobEnd | None) -> RayJobView:
    """What to show, from the scheduler's word."""
    if end is not None:
        return _ended(job, end)
    if info is None:
        unknown = "Its scheduler knows nothing of it."
        return RayJobView(job=job, state=RayJobState.UNKNOWN, message=unknown)
    state, message = _lives(job, info)
    return RayJobView(
        job=job, state=state, message=message, nodes=info.nodes, deadline=info.deadline
    )


def _lives(job: RayJob, info: JobInfo) -> tuple[RayJobState, str]:
    if info.state is JobState.PENDING:
        return RayJobState.QUEUED, waits_in_words(info, datetime.now().astimezone())
    if info.state is JobState.ENDING or job.meeting.closed:
        return RayJobState.ENDING, "saving its work, then ending"
    if info.state is JobState.UNKNOWN:
        return RayJobState.UNKNOWN, "Its scheduler does not know its state now."
    if job.meeting.head() is None:
        return RayJobState.STARTING, "its Ray cluster starts"
    return RayJobState.RUNNING, ""


def _ended(job: RayJob, end: JobEnd) -> RayJobView:
    if job.stop_asked and end.outcome is not Outcome.COMPLETED:
        end = replace(end, outcome=Outcome.CANCELLED, reason="")
    how = {
        Outcome.COMPLETED: (RayJobState.DONE, ""),
        Outcome.CANCELLED: (RayJobState.STOPPED, end.reason or "Stopped on request."),
        Outcome.TIMEOUT: (RayJobState.STOPPED, "Its time was over. Ask for more with --time."),
        Outcome.OUT_OF_MEMORY: (RayJobState.FAILED, end.reason or "It needed more memory."),
        Outcome.LOST: (RayJobState.FAILED, end.reason or "Its processes were killed."),
    }
    failed = f"It ended with exit code {end.exit_code}; see: labkit ray logs {job.ray_job_id}"
    state, message = how.get(end.outcome, (RayJobState.FAILED, failed))
    return RayJobView(job=job, state=state, message=message, exit_code=end.exit_code)


async def stop_job(site: Site, job: RayJob) -> bool:
    """Ask the command to end, within its grace. False where the job does not run."""
    (view,) = await view_jobs(site, [job])
    if view.state.ended:
        return False
    replace(job, stop_asked=True).write()
    gently = job.meeting.head() is not None
    await open_cluster(site, job.cluster).cancel(job.job_id, gently=gently)
    return True
