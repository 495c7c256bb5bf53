"""A run as a person sees it: the folder's last word, unless the scheduler says it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from labkit.clusters import Looks, Said, waits_in_words
from labkit.errors import LabkitError
from labkit.runs.folder import NO_ROOM, Attempt, Run, RunState, Status
from labkit.runs.spec import read_spec_file
from labkit.schedulers.base import AGAIN, JobEnd, JobInfo, JobState, Outcome
from labkit.settings import Site

_RESUME = "Go on with: labkit run resume"


@dataclass(frozen=True, kw_only=True)
class RunView:
    run: Run
    name: str
    created: datetime
    attempt: int
    status: Status
    measured: Mapping[str, float]
    """The tuned model's figures by measure; none before there are any."""

    @property
    def accuracy(self) -> float | None:
        return self.measured.get("accuracy")

    @property
    def macro_f1(self) -> float | None:
        return self.measured.get("macro_f1")

    def to_dict(self) -> dict[str, Any]:
        """For programs. Its `loss` is that of the last step; what was measured has its own place,
        but for the two measures of labels."""
        named = {"accuracy": self.accuracy, "macro_f1": self.macro_f1}
        return {
            "run": self.run.run_id,
            "name": self.name,
            "created": self.created.isoformat(),
            "folder": str(self.run.folder),
            "attempt": self.attempt,
            **{key: value for key, value in vars(self.status).items()},
            **named,
            "measured": {key: value for key, value in self.measured.items() if key not in named},
        }


async def view_runs(site: Site, runs: Sequence[Run], looks: Looks | None = None) -> list[RunView]:
    """All those runs, with one question to each cluster for all of them.

    A run whose files are damaged is shown as such; a cluster that cannot be asked is named
    in the message of its runs. Who looks again and again gives its `looks`.
    """
    lasts = {run.run_id: _last(run) for run in runs}
    asked = [(last.cluster, last.job_id) for last in lasts.values() if isinstance(last, Attempt)]
    said = await (looks or Looks(site)).ask(asked)
    # Read after the schedulers were asked: a job that has ended says no more.
    return [_view(run, lasts[run.run_id], said) for run in runs]


def _last(run: Run) -> Attempt | LabkitError | None:
    """The run's last attempt; None where it has none yet, or why that cannot be read."""
    try:
        return run.last if run.has_attempts else None
    except LabkitError as error:
        return error


def shown_status(
    said: Status | None, job: JobInfo | None, end: JobEnd | None, run_id: str
) -> Status:
    """What to show, from the folder's last word and the scheduler's. Pure."""
    if said and said.state.ended:
        return said
    if end and job is None:
        return _ended(said or Status(state=RunState.QUEUED), end, run_id)
    if said is None and job is None:
        return Status(state=RunState.QUEUED, phase="its scheduler knows nothing of it yet")
    so_far = said or Status(state=RunState.QUEUED)
    if job and job.state is JobState.PENDING:
        phase = waits_in_words(job, datetime.now().astimezone())
        phase = f"to be started again, {phase}" if said else phase
        return replace(so_far, state=RunState.QUEUED, phase=phase, seconds_left=None)
    if said is None or (job and job.state is JobState.RUNNING and not said.is_of(job)):
        return replace(so_far, state=RunState.STARTING, phase="starting its Ray cluster")
    if job and job.state is JobState.ENDING and said.state is not RunState.QUEUED:
        return replace(said, phase="saving a checkpoint, then ending")
    return said


def _ended(said: Status, end: JobEnd, run_id: str) -> Status:
    how = {
        Outcome.CANCELLED: (RunState.STOPPED, end.reason or "Stopped on request."),
        Outcome.TIMEOUT: (RunState.STOPPED, "Its time was over."),
        Outcome.OUT_OF_MEMORY: (RunState.FAILED, end.reason or "It needed more memory."),
        Outcome.LOST: (RunState.FAILED, "Its processes were killed, or the machine restarted."),
    }
    if said.state is RunState.QUEUED and end.exit_code == AGAIN:
        how[end.outcome] = (RunState.STOPPED, f"{said.phase} It could not be started again.")
    if end.exit_code == NO_ROOM:
        how[end.outcome] = (RunState.FAILED, "The disk of its folder is full. Free some room.")
    unknown = end.reason or f"It ended with exit code {end.exit_code}; see its log."
    state, message = how.get(end.outcome, (RunState.FAILED, unknown))
    return replace(
        said, state=state, phase="", seconds_left=None, message=f"{message} {_RESUME} {run_id}"
    )


def _view(run: Run, last: Attempt | LabkitError | None, said: Mapping[str, Said]) -> RunView:
    number = last.number if isinstance(last, Attempt) else 0
    try:
        run.record()
        read_spec_file(run.folder / "spec.toml")
        status = _status(run, last, said)
        tuned = (run.evaluation() or {}).get("tuned", {}) if number else {}
    except LabkitError as error:
        status, tuned = Status(state=RunState.DAMAGED, message=str(error)), {}
    return RunView(
        run=run,
        name=run.name,
        created=run.created,
        attempt=number,
        status=status,
        measured={key: found["value"] for key, found in tuned.items()},
    )


def _status(run: Run, last: Attempt | LabkitError | None, said: Mapping[str, Said]) -> Status:
    if last is None:
        return Status(state=RunState.QUEUED, phase="being prepared")
    if isinstance(last, LabkitError):
        raise last
    here = said[last.cluster]
    status = shown_status(
        last.status(), here.jobs.get(last.job_id), here.ends.get(last.job_id), run.run_id
    )
    if here.silent and not status.state.ended:
        return replace(status, message=here.silent)
    return status
