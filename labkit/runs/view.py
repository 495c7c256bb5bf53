"""A run as a person sees it: the folder's last word, unless the scheduler says it ended."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from labkit.clusters import open_cluster
from labkit.runs.folder import Run, RunState, Status
from labkit.schedulers.base import JobEnd, JobInfo, JobState, Outcome
from labkit.settings import Site

_RESUME = "Go on with: labkit run resume"


@dataclass(frozen=True, kw_only=True)
class RunView:
    run: Run
    name: str
    created: datetime
    attempt: int
    status: Status
    accuracy: float | None
    macro_f1: float | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "run": self.run.run_id,
            "name": self.name,
            "created": self.created.isoformat(),
            "folder": str(self.run.folder),
            "attempt": self.attempt,
            **{key: value for key, value in vars(self.status).items()},
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
        }


async def view_runs(site: Site, runs: Sequence[Run]) -> list[RunView]:
    """All those runs, with one question to each cluster for all of them."""
    jobs: dict[tuple[str, str], JobInfo] = {}
    ends: dict[tuple[str, str], JobEnd] = {}
    lasts = {run.run_id: run.last for run in runs if run.attempts()}
    for cluster in {attempt.cluster for attempt in lasts.values()}:
        scheduler = open_cluster(site, cluster)
        ids = [attempt.job_id for attempt in lasts.values() if attempt.cluster == cluster]
        jobs |= {(cluster, job_id): job for job_id, job in (await scheduler.jobs()).items()}
        ends |= {(cluster, job_id): end for job_id, end in (await scheduler.ended(ids)).items()}
    views = []
    for run in runs:
        if attempt := lasts.get(run.run_id):
            key = (attempt.cluster, attempt.job_id)
            # Read after the scheduler was asked: a job that has ended says no more.
            status = shown_status(attempt.status(), jobs.get(key), ends.get(key), run.run_id)
            views.append(_view(run, attempt.number, status))
    return views


def shown_status(
    said: Status | None, job: JobInfo | None, end: JobEnd | None, run_id: str
) -> Status:
    """What to show, from the folder's last word and the scheduler's. Pure."""
    if said and said.state.ended:
        return said
    if end:
        return _ended(said or Status(state=RunState.QUEUED), end, run_id)
    if said is None and job and job.state is JobState.PENDING:
        place = f"place {job.place} in the queue" if job.place else "waiting"
        return Status(
            state=RunState.QUEUED, phase=f"{place}: {job.reason}" if job.reason else place
        )
    if said is None:
        return Status(state=RunState.STARTING, phase="starting its Ray cluster")
    if job and job.state is JobState.ENDING:
        return replace(said, phase="saving a checkpoint, then ending")
    return said


def _ended(said: Status, end: JobEnd, run_id: str) -> Status:
    how = {
        Outcome.CANCELLED: (RunState.STOPPED, "Stopped on request."),
        Outcome.TIMEOUT: (RunState.STOPPED, "Its time was over."),
        Outcome.OUT_OF_MEMORY: (RunState.FAILED, end.reason or "It needed more memory."),
        Outcome.LOST: (RunState.FAILED, "Its processes were killed, or the machine restarted."),
    }
    state, message = how.get(
        end.outcome, (RunState.FAILED, f"It ended with exit code {end.exit_code}; see its log.")
    )
    return replace(
        said, state=state, phase="", seconds_left=None, message=f"{message} {_RESUME} {run_id}"
    )


def _view(run: Run, attempt: int, status: Status) -> RunView:
    record = run.record()
    tuned = (run.evaluation() or {}).get("tuned")
    return RunView(
        run=run,
        name=str(record.get("name")),
        created=datetime.fromisoformat(record["created"]).astimezone(UTC),
        attempt=attempt,
        status=status,
        accuracy=tuned["accuracy"]["value"] if tuned else None,
        macro_f1=tuned["macro_f1"]["value"] if tuned else None,
    )
