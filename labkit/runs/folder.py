"""The run folder: the only truth about a run.

    spec.toml   run.json   data/              written once, at submit
    stop                                      a person asked it to end; gone when they resume it
    attempts/N/ attempt.json                  the job, and the checkpoint it goes on from
                status.json metrics.jsonl log.txt checkpoints/ baselines.json
                model/ evaluation.json card.md votes/

Each attempt writes only in its own folder, so a writer that was cut off and lives on hurts
nothing. `status.json` is replaced atomically; every view reads it and none asks Ray.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from labkit.errors import DamagedFile, LabkitError
from labkit.evaluation.base import Evaluation
from labkit.parsing import as_kind, read_as
from labkit.paths import list_folder, private_folder, read_json, write_json
from labkit.runs.spec import RunSpec, read_spec
from labkit.schedulers.base import JobInfo

NO_ROOM = 73
"""The exit code of a run whose disk is so full that its status cannot be written (EX_CANTCREAT)."""


class RunState(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    TRAINING = "training"
    EVALUATING = "evaluating"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    DAMAGED = "damaged"
    """Its files cannot be read. No run says so of itself."""

    @property
    def ended(self) -> bool:
        return self in (RunState.DONE, RunState.STOPPED, RunState.FAILED, RunState.DAMAGED)


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where an attempt is. Every field but the state may be unknown."""

    state: RunState
    phase: str = ""
    """What it does now, in plain words."""
    step: int = 0
    num_steps: int = 0
    epoch: float = 0.0
    loss: float | None = None
    validation_accuracy: float | None = None
    instant_accuracy: float | None = None
    """Accuracy on the validation part of the frozen model's instant answer."""
    rows_per_second: float | None = None
    tokens_per_second: float | None = None
    share_of_peak: float | None = None
    """Of what the devices' matrix products reach, as far as the recipe knows its arithmetic."""
    seconds_left: float | None = None
    message: str = ""
    """Why it failed or stopped, and what to do."""
    started: str = ""
    """When its job began to work on it; empty in an attempt that follows on another's heels."""
    updated: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def is_of(self, job: JobInfo) -> bool:
        """Whether it was said since the job was last started."""
        return job.started is None or datetime.fromisoformat(self.updated) >= job.started


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What of `run.json` every run has."""

    name: str
    created: datetime


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What `attempt.json` says."""

    cluster: str = ""
    job_id: str = ""
    resume_from: str = ""
    reason: str = ""
    start: int = 0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at a run: its own folder. A job that loses a node begins another."""

    number: int
    folder: Path
    cluster: str = ""
    job_id: str = ""
    resume_from: str = ""
    """The checkpoint that it goes on from, relative to the run folder; empty for none."""
    reason: str = ""
    """Why there is this attempt after another, in words; empty where a person asked for it."""
    start: int = 0
    """How often its job had been started before."""

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def stop_file(self) -> Path:
        """Its presence asks the training loop to save a checkpoint and end."""
        return self.folder / "stop"

    @property
    def out_of_memory_file(self) -> Path:
        """Its presence says that it ended since a device ran out of memory, so that the next one
        takes less."""
        return self.folder / "out-of-memory"

    def write(self) -> None:
        kept = {key: getattr(self, key) for key in _Job.__annotations__}
        write_json(self.folder / "attempt.json", kept)

    def status(self) -> Status | None:
        """Its last word; None where it has not said any. Raises DamagedFile."""
        return read_as(Status, self.folder / "status.json")

    @property
    def has_ended(self) -> bool:
        status = self.status()
        return status is not None and status.state.ended

    def write_status(self, status: Status) -> None:
        write_json(self.folder / "status.json", asdict(status))

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, the newest last."""
        return sorted((self.folder / "checkpoints").glob("step-*[0-9]"))


@dataclass(frozen=True)
class Run:
    """A run folder. What reads its files raises DamagedFile where they are damaged."""

    folder: Path

    @property
    def run_id(self) -> str:
        return self.folder.name

    @property
    def name(self) -> str:
        """What it is called; its id where the file that says so is damaged."""
        try:
            return as_kind(_Record, self.record(), self.folder).name
        except DamagedFile:
            return self.run_id

    @property
    def created(self) -> datetime:
        """When it was made; of a damaged run, when its folder was last changed."""
        try:
            return as_kind(_Record, self.record(), self.folder).created.astimezone(UTC)
        except DamagedFile:
            return datetime.fromtimestamp(self.folder.stat().st_mtime, UTC)

    def record(self) -> dict[str, Any]:
        """`run.json`: its name, when it was made, and what is known of data, base and job."""
        file = self.folder / "run.json"
        found = read_json(file)
        if found is None:
            raise DamagedFile(f"{file} is missing.")
        as_kind(_Record, found, file)
        return found

    def spec(self) -> RunSpec:
        return read_spec(self.folder / "spec.toml")

    @property
    def stop_file(self) -> Path:
        """Its presence says that a person wants the run to end: its job is not started again."""
        return self.folder / "stop"

    @property
    def dataset(self) -> Path:
        return self.folder / "data"

    def attempts(self) -> list[Attempt]:
        return [self.attempt(number) for number in self._numbers()]

    def attempt(self, number: int) -> Attempt:
        folder = self.folder / "attempts" / str(number)
        job = read_as(_Job, folder / "attempt.json") or _Job()
        return Attempt(number=number, folder=folder, **vars(job))

    @property
    def has_attempts(self) -> bool:
        return bool(self._numbers())

    @property
    def last(self) -> Attempt:
        """The newest attempt. Raises LabkitError where there is none."""
        if numbers := self._numbers():
            return self.attempt(numbers[-1])
        raise LabkitError(
            f"{self.name} was never submitted. Delete it, and start it anew: "
            f"labkit run delete {self.run_id}"
        )

    def new_attempt(
        self,
        *,
        cluster: str,
        job_id: str = "",
        resume_from: str = "",
        reason: str = "",
        start: int = 0,
        after: int | None = None,
    ) -> Attempt:
        """The next attempt's folder. The number is taken by making the folder, so once only.

        `after`: only if the attempt of that number is still the last. Raises LabkitError if not.
        """
        number = (max(self._numbers(), default=0) if after is None else after) + 1
        folder = self.folder / "attempts" / str(number)
        try:
            private_folder(folder.parent)
            folder.mkdir(mode=0o700)
        except FileExistsError:
            raise LabkitError(f"{self.name} is being started by somebody else just now.") from None
        attempt = Attempt(
            number=number,
            folder=folder,
            cluster=cluster,
            job_id=job_id,
            resume_from=resume_from,
            reason=reason,
            start=start,
        )
        attempt.write()
        return attempt

    def newest_checkpoint(self) -> str:
        """Relative to the run folder; empty where no attempt left one."""
        found = [path for attempt in self.attempts() for path in attempt.checkpoints()]
        return str(found[-1].relative_to(self.folder)) if found else ""

    def model_folder(self) -> Path:
        """Where the tuned model lies. Raises LabkitError where there is none yet."""
        folder = self.last.folder / "model"
        if not (folder / "labkit.json").exists():
            raise LabkitError(
                f"{self.name} has no tuned model: it is not done. "
                f"See: labkit run show {self.run_id}"
            )
        return folder

    def evaluation(self) -> dict[str, Any] | None:
        """What the last attempt measured, as `Evaluation.to_dict` has it; None before the end."""
        file = self.last.folder / "evaluation.json"
        found = read_json(file)
        if found is not None:
            as_kind(Evaluation, found, file)
        return found

    def metrics(self) -> Iterator[dict[str, Any]]:
        """What the last attempt reported; a line that is being written is left out."""
        file = self.last.folder / "metrics.jsonl"
        for line in file.read_text(errors="replace").splitlines() if file.exists() else []:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return

    def _numbers(self) -> list[int]:
        names = (path.name for path in list_folder(self.folder / "attempts"))
        return sorted(int(name) for name in names if name.isdecimal())

    def delete(self) -> None:
        """Remove the folder. Raises LabkitError where it is a link, or something of it stays."""
        if self.folder.is_symlink():
            raise LabkitError(
                f"{self.folder} is a link to {self.folder.resolve()}. labkit deletes no folder "
                "that lies elsewhere. Remove the link, and the folder, yourself."
            )
        try:
            shutil.rmtree(self.folder)
        except OSError as error:
            raise LabkitError(
                f"{self.folder} could not be removed wholly: {error.strerror}. Delete it again."
            ) from error
