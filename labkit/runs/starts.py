"""The starts of a run's job: which attempt each of them works on, or why there is none more.

A scheduler starts the job of a run again after the end of its walltime, a preemption or the loss
of its first node. Each start has an attempt of its own; a process of an earlier start that lives
on, on a node that was cut off, finds the next attempt's number taken, and ends.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from labkit.runs.folder import Attempt, Run, RunState, Status
from labkit.schedulers.base import STARTS
from labkit.units import format_duration

MAX_FRUITLESS = 3
"""How often in a row a job may be started and leave no newer checkpoint."""
WORTH_S = 300
"""With less than this left of a run's time, another start is not worth its beginning."""
EARLY_S = 240
"""A scheduler asks a job to end at most this long before its walltime is over."""


@dataclass(frozen=True)
class Start:
    """One start of a run's job."""

    run: Run
    first: int
    """The number of the attempt that the job was submitted for."""
    number: int
    """How often the job had been started before."""

    def attempts(self) -> list[Attempt]:
        """Those of this job, of all its starts; not of one that a person resumed meanwhile."""
        job_id = self.run.attempt(self.first).job_id
        found = (one for one in self.run.attempts() if one.number >= self.first)
        return [one for one in found if one.job_id == job_id]

    @property
    def attempt(self) -> Attempt:
        """The newest of this start."""
        return [one for one in self.attempts() if one.start == self.number][-1]

    @property
    def is_last(self) -> bool:
        return self.run.last.number == self.attempt.number

    @property
    def may_follow(self) -> bool:
        """Whether the scheduler starts the job again where it asks for that."""
        return STARTS in os.environ

    def begin(self) -> Attempt:
        """The attempt to work on; one whose status says that it has ended where there is none."""
        attempts = self.attempts()
        last = attempts[-1]
        before = last.status()
        if self.number:
            if before and before.state.ended:
                return last
            for earlier in attempts:
                earlier.stop_file.touch(mode=0o600)
            last = self.run.new_attempt(
                cluster=last.cluster,
                job_id=last.job_id,
                resume_from=self.run.newest_checkpoint(),
                reason=self._reason(before),
                start=self.number,
            )
        state, message = self._why_not() or (RunState.STARTING, "")
        now = _now()
        last.write_status(
            replace(
                before or Status(state=state),
                state=state,
                phase="" if state.ended else "starting the training process",
                message=message,
                seconds_left=None,
                started=now,
                updated=now,
            )
        )
        return last

    def stopped(self) -> Status:
        """What is to be said after it was asked to end: for good, or that it waits to go on."""
        status = self.attempt.status() or Status(state=RunState.STARTING)
        status = replace(status, seconds_left=None, updated=_now())
        how = ""
        if not self.is_last:
            how = "Its job was started again elsewhere, and goes on there."
        elif self.run.stop_file.exists():
            how = f"Stopped on request. {self._resume}"
        elif self.left_s() < WORTH_S:
            how = self._used_up
        elif not self.may_follow:
            how = f"Its job was asked to end. {self._resume}"
        if how:
            return replace(status, state=RunState.STOPPED, phase="", message=how)
        return replace(status, state=RunState.QUEUED, phase=self._asked())

    def broken(self) -> Status:
        """What is to be said where the Ray cluster is gone, and the scheduler starts it again."""
        status = self.attempt.status() or Status(state=RunState.STARTING)
        phase = "Its Ray cluster died."
        return replace(
            status, state=RunState.QUEUED, phase=phase, seconds_left=None, updated=_now()
        )

    def left_s(self) -> float:
        """Of the time that the person gave the run."""
        return self.run.spec().resources.time - used_s(self.attempts())

    def _why_not(self) -> tuple[RunState, str] | None:
        """The run's end and why, where this start is not to go on."""
        if self.run.stop_file.exists() or self.attempt.stop_file.exists():
            return RunState.STOPPED, f"Stopped before it began. {self._resume}"
        if self.number and self.left_s() < WORTH_S:
            return RunState.STOPPED, self._used_up
        if (times := fruitless_starts(self.attempts(), self.number)) >= MAX_FRUITLESS:
            how = (
                f"Its job was started {times} times without leaving a new checkpoint, so it was "
                f"given up. The log says more. {self._resume}"
            )
            return RunState.FAILED, how
        return None

    def _asked(self) -> str:
        """Why the scheduler asked this start to end. It does not say; the clock does."""
        walltime_s = self.run.record().get("walltime_s", self.run.spec().resources.time)
        mine = [attempt for attempt in self.attempts() if attempt.start == self.number]
        if used_s(mine) >= walltime_s - EARLY_S:
            return "The time of its job was over."
        return "Its job had to make room for another."

    def _reason(self, status: Status | None) -> str:
        """Why there is this start, from the last word of the one before."""
        said = status.phase if status and status.state is RunState.QUEUED else ""
        why = said or (
            "Its first node was lost, its first process or Ray killed, "
            "or it had to make room at once."
        )
        if self.run.newest_checkpoint():
            return f"{why} Going on from the newest checkpoint."
        return f"{why} Beginning anew: there was no checkpoint yet."

    @property
    def _used_up(self) -> str:
        time = format_duration(self.run.spec().resources.time)
        return f"Its time of {time} is used up. Its newest checkpoint is kept. {self._resume}"

    @property
    def _resume(self) -> str:
        return f"Go on with: labkit run resume {self.run.run_id}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def used_s(attempts: Sequence[Attempt]) -> float:
    """How long the job worked on those, in all its starts."""
    spans: dict[int, list[datetime]] = {}
    for attempt in attempts:
        if status := attempt.status():
            said = [status.updated, *([status.started] if status.started else [])]
            spans.setdefault(attempt.start, []).extend(map(datetime.fromisoformat, said))
    return sum((max(span) - min(span)).total_seconds() for span in spans.values())


def fruitless_starts(attempts: Sequence[Attempt], number: int) -> int:
    """How many starts before that one left no newer checkpoint, the latest ones in a row."""
    fruitful = [attempt.start for attempt in attempts if _came_further(attempt)]
    return number - max(fruitful, default=-1) - 1


def _came_further(attempt: Attempt) -> bool:
    names = [folder.name for folder in attempt.checkpoints()]
    return bool(names) and names[-1] > attempt.resume_from.rpartition("/")[2]
