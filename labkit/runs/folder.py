"""The run folder: the only truth about a run.

    spec.toml   run.json   data/              written once, at submit
    attempts/N/ attempt.json                  the job, and the checkpoint it goes on from
                status.json metrics.jsonl log.txt checkpoints/ baselines.json
                model/ evaluation.json card.md

Each attempt writes only in its own folder, so a writer that was cut off and lives on hurts
nothing. `status.json` is replaced atomically; every view reads it and none asks Ray.
"""

import json
import re
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain, count
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError, UsageError, did_you_mean
from labkit.paths import private_folder, read_json, write_json, write_private
from labkit.runs.spec import NAME_PATTERN, RunSpec, read_spec, spec_toml


class RunState(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    TRAINING = "training"
    EVALUATING = "evaluating"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self in (RunState.DONE, RunState.STOPPED, RunState.FAILED)


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
    seconds_left: float | None = None
    message: str = ""
    """Why it failed or stopped, and what to do."""
    updated: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at a run: a job and its own folder."""

    number: int
    folder: Path
    cluster: str = ""
    job_id: str = ""
    resume_from: str = ""
    """The checkpoint that it goes on from, relative to the run folder; empty for none."""

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def stop_file(self) -> Path:
        """Its presence asks the training loop to save a checkpoint and end."""
        return self.folder / "stop"

    def write(self) -> None:
        kept = {"cluster": self.cluster, "job_id": self.job_id, "resume_from": self.resume_from}
        write_json(self.folder / "attempt.json", kept)

    def status(self) -> Status | None:
        """Its last word; None where it has not said any."""
        found = read_json(self.folder / "status.json")
        known = {f.name for f in fields(Status)}
        kept = {key: value for key, value in (found or {}).items() if key in known}
        return Status(**{**kept, "state": RunState(kept["state"])}) if found else None

    def write_status(self, status: Status) -> None:
        write_json(self.folder / "status.json", asdict(status))

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, the newest last."""
        return sorted((self.folder / "checkpoints").glob("step-*[0-9]"))


@dataclass(frozen=True)
class Run:
    """A run folder."""

    folder: Path

    @property
    def run_id(self) -> str:
        return self.folder.name

    @property
    def name(self) -> str:
        return str(self.record().get("name") or self.run_id)

    def record(self) -> dict[str, Any]:
        return read_json(self.folder / "run.json") or {}

    def spec(self) -> RunSpec:
        return read_spec(self.folder / "spec.toml")

    def rename(self, name: str) -> None:
        """Raises UsageError where another run has that name, or it cannot be one."""
        if not re.fullmatch(NAME_PATTERN, name):
            raise UsageError("A name has 1 to 80 characters, and no '/' or line break.")
        if name in _names(self.folder.parent) - {self.name}:
            raise UsageError(f"Another run is called {name!r}. Choose another name.")
        write_json(self.folder / "run.json", {**self.record(), "name": name})

    @property
    def dataset(self) -> Path:
        return self.folder / "data"

    def attempts(self) -> list[Attempt]:
        numbers = sorted(int(p.name) for p in (self.folder / "attempts").glob("[0-9]*"))
        return [self.attempt(number) for number in numbers]

    def attempt(self, number: int) -> Attempt:
        folder = self.folder / "attempts" / str(number)
        return Attempt(number=number, folder=folder, **(read_json(folder / "attempt.json") or {}))

    @property
    def last(self) -> Attempt:
        return self.attempts()[-1]

    def new_attempt(self, *, cluster: str, resume_from: str = "") -> Attempt:
        """The next attempt's folder. The number is taken by making the folder, so once only."""
        number = len(self.attempts()) + 1
        folder = self.folder / "attempts" / str(number)
        try:
            private_folder(folder.parent)
            folder.mkdir(mode=0o700)
        except FileExistsError:
            raise LabkitError(f"{self.name} is being started by somebody else just now.") from None
        attempt = Attempt(number=number, folder=folder, cluster=cluster, resume_from=resume_from)
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
        return read_json(self.last.folder / "evaluation.json")

    def metrics(self) -> Iterator[dict[str, Any]]:
        """What the last attempt reported; a line that is being written is left out."""
        file = self.last.folder / "metrics.jsonl"
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return

    def delete(self) -> None:
        shutil.rmtree(self.folder)


def create_run(runs: Path, spec: RunSpec, summary: Mapping[str, Any]) -> Run:
    """A new run folder with its spec; the data is saved into it by the caller."""
    created = datetime.now(UTC)
    name = _free_name(spec.name or spec.data.stem, _names(runs))
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24] or "run"
    run_id = f"{created:%Y%m%d}-{slug}-{secrets.token_hex(3)}"
    run = Run(private_folder(runs / run_id))
    write_private(run.folder / "spec.toml", spec_toml(spec))
    record = {"name": name, "created": created.isoformat(timespec="seconds"), "data": summary}
    write_json(run.folder / "run.json", record)
    return run


def _names(runs: Path) -> set[str]:
    return {run.name for run in list_runs(runs)}


def _free_name(wanted: str, taken: Collection[str]) -> str:
    """`wanted`, with a number behind it where another run has it already."""
    numbered = (f"{wanted}-{number}" for number in count(2))
    return next(name for name in chain([wanted], numbered) if name not in taken)


def list_runs(runs: Path) -> list[Run]:
    """All run folders, the newest first."""
    found = [Run(path.parent) for path in runs.glob("*/run.json")]
    return sorted(found, key=lambda run: str(run.record().get("created")), reverse=True)


def find_run(runs: Path, asked: str) -> Run:
    """The run of that id, start of an id, or name; 'last' is the newest.

    Raises UsageError where none or more than one fits.
    """
    all_runs = list_runs(runs)
    if asked == "last" and all_runs:
        return all_runs[0]
    for fits in (
        lambda run: run.run_id == asked,
        lambda run: run.name == asked,
        lambda run: run.run_id.startswith(asked) or run.run_id.endswith(asked),
    ):
        found = [run for run in all_runs if fits(run)]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(run.run_id for run in found[:5])
            raise UsageError(f"{asked!r} fits {len(found)} runs. Name one of: {ids}.")
    names = [name for run in all_runs for name in (run.run_id, run.name)]
    raise UsageError(
        f"No run is called {asked!r}.{did_you_mean(asked, names)} See: labkit run list"
    )
