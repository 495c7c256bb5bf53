"""What the training process of a run does: the recipe's steps, in order, in its attempt.

It runs as a task of the run's Ray cluster and writes only into the attempt's folder. Mistakes that
would come again end the run with a sentence; only the death of a process is tried again,
from the newest checkpoint.
"""

import json
import logging
import os
import platform
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.accelerators import ACCELERATORS
from labkit.errors import LabkitError, OutOfMemory
from labkit.importing import importing
from labkit.models.catalogue import BaseEntry
from labkit.paths import read_json, write_json, write_private
from labkit.recipes import RECIPES
from labkit.recipes.base import Recipe, Task, TrainContext
from labkit.runs.card import card
from labkit.runs.folder import Attempt, Run, RunState, Status
from labkit.runs.meter import metered

if TYPE_CHECKING:
    from labkit.train.workers import Workers

VERSIONS = ("labkit", "torch", "transformers", "peft", "bitsandbytes", "ray", "scikit-learn")


_KEPT = ("step", "instant_accuracy", "samples")
"""What is of more than the moment: a report with one of these goes to `metrics.jsonl`."""


class Reporter:
    """The process's word about the run: `status.json` for now, `metrics.jsonl` for the curve, and
    its messages in the log, too, where they stay."""

    def __init__(self, attempt: Attempt):
        self.attempt = attempt
        self.status = attempt.status() or Status(state=RunState.STARTING)

    def __call__(self, *, state: RunState | None = None, **fields: Any) -> None:
        known = {key: value for key, value in fields.items() if key in Status.__annotations__}
        self.status = replace(
            self.status,
            **known,
            state=state or self.status.state,
            updated=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.attempt.write_status(self.status)
        if "message" in fields:
            print(fields["message"], flush=True)
        if not fields.keys().isdisjoint(_KEPT):
            line = json.dumps({"time": datetime.now(UTC).timestamp(), **fields})
            with (self.attempt.folder / "metrics.jsonl").open("a") as file:
                file.write(line + "\n")


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One training process of an attempt, and what it may use."""

    folder: Path
    """The run's."""
    attempt: int
    stop_file: Path
    """That of the job's first attempt: its later ones end by it, too."""
    num_threads: int
    accelerator: str
    rank: int = 0
    size: int = 1


def work(worker: Worker) -> None:
    """Do the attempt, from the data to the card, and leave its end in the attempt's status.

    With others (`size` above 1), each of them calls it; the first does what is no training. It
    raises what went wrong, since the others cannot go on without it.
    """
    run = Run(worker.folder)
    attempt = run.attempt(worker.attempt)
    first = worker.rank == 0
    _write_output_to(attempt.log if first else attempt.folder / f"log-{worker.rank}.txt")
    report = Reporter(attempt) if first else _say_nothing
    try:
        with metered(worker.accelerator, attempt.folder / f"use-{worker.rank}.json"):
            _recipe_steps(run, attempt, worker, report)
    except Exception as error:
        if not isinstance(error, LabkitError):
            traceback.print_exc()
        if isinstance(error, OutOfMemory):
            print(error, flush=True)
            attempt.out_of_memory_file.touch(mode=0o600)
        elif worker.size == 1 or _comes_again(error):
            # Whoever it is: the first may wait for it in vain, and never learn why.
            said = Reporter(attempt)
            said(state=RunState.FAILED, phase="", message=_in_words(error, attempt.log))
        if worker.size > 1:
            raise


def _say_nothing(**_: Any) -> None:
    """The report of those who are not the first."""


def context_of(
    run: Run, attempt: Attempt, worker: Worker, workers: "Workers", report: Callable[..., None]
) -> TrainContext:
    """The attempt as a recipe sees it, going on from its own newest checkpoint if it has one.

    Raises LabkitError where this node does not see the base model.
    """
    spec = run.spec()
    base = BaseEntry.model_validate(run.record()["base"])
    if not base.path.is_dir():
        raise LabkitError(
            f"The base model {base.name!r} is not on {platform.node()}: no folder {base.path}. "
            "Keep base models where all nodes see them, then resume the run."
        )
    own = attempt.checkpoints()
    given = run.folder / attempt.resume_from if attempt.resume_from else None
    if given and not given.exists() and (newer := run.newest_checkpoint()):
        given = run.folder / newer  # a node that was cut off saved once more, and dropped it
    return TrainContext(
        task=Task(config=spec.settings, base=base, data=spec.data, test=spec.test, seed=spec.seed),
        dataset=run.dataset,
        folder=attempt.folder,
        device=ACCELERATORS.load(worker.accelerator).torch_device,
        num_threads=worker.num_threads,
        resume_from=own[-1] if own else given,
        report=report,
        should_stop=lambda: attempt.stop_file.exists() or worker.stop_file.exists(),
        workers=workers,
        lean=any(
            each.out_of_memory_file.exists()
            for each in run.attempts()
            if each.job_id == attempt.job_id
        ),
    )


def _recipe_steps(run: Run, attempt: Attempt, worker: Worker, report: Callable[..., None]) -> None:
    report(phase="loading torch")
    with importing():
        import torch

        from labkit.train.workers import ALONE, join, leave

        recipe = RECIPES.load(run.spec().recipe)
    torch.set_num_threads(worker.num_threads)
    report(state=RunState.TRAINING, phase="starting")
    workers = ALONE
    if worker.size > 1:
        device = ACCELERATORS.load(worker.accelerator).torch_device
        workers = join(attempt.folder / "store", worker.rank, worker.size, device)
    context = context_of(run, attempt, worker, workers, report)
    baselines = _baselines(run, attempt, recipe, context) if workers.is_first else {}
    workers.wait()
    trained = recipe.train(context)
    leave(workers)
    if not workers.is_first:
        return
    if not trained:
        report(phase="saved a checkpoint")  # the driver knows why it was to end, and has the word
        return
    report(state=RunState.EVALUATING, phase="measuring on the held-out rows")
    evaluation = recipe.evaluate(context, baselines).to_dict()
    write_json(attempt.folder / "evaluation.json", evaluation)
    write_private(attempt.folder / "card.md", _card(run, context, evaluation, worker))
    shutil.rmtree(attempt.folder / "checkpoints", ignore_errors=True)
    report(state=RunState.DONE, phase="", message=evaluation["verdict"], seconds_left=0.0)


def _baselines(
    run: Run, attempt: Attempt, recipe: Recipe, context: TrainContext
) -> Mapping[str, Any]:
    """The baselines' answers: made once in a run, taken over by its later attempts."""
    for earlier in reversed(run.attempts()):
        if found := read_json(earlier.folder / "baselines.json"):
            return found
    made = recipe.baselines(context)
    write_json(attempt.folder / "baselines.json", made)
    return made


def _card(run: Run, context: TrainContext, evaluation: Mapping[str, Any], worker: Worker) -> str:
    devices = ACCELERATORS.load(worker.accelerator).devices()
    name = devices[0].name if devices else worker.accelerator
    times = f"{worker.size} × " if worker.size > 1 else ""
    return card(
        name=run.name,
        spec=run.spec(),
        base=context.task.base,
        data=run.record()["data"],
        evaluation=evaluation,
        versions=_versions(),
        device=f"{times}{name}, {context.num_threads} threads",
        finished=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _versions() -> dict[str, str]:
    """What a run was made with, as far as it is installed: the method qlora alone needs all."""
    found: dict[str, str] = {}
    for package in VERSIONS:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _write_output_to(log: Path) -> None:
    """Everything this process prints goes to the attempt's log, Ray's own files being swept."""
    log.touch(mode=0o600)
    handle = os.open(log, os.O_WRONLY | os.O_APPEND)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    logging.captureWarnings(True)


def _comes_again(error: Exception) -> bool:
    """Whether it would come again. Of several workers, one may only miss another that died."""
    return isinstance(error, LabkitError) or _is_out_of_memory(error)


def _is_out_of_memory(error: Exception) -> bool:
    return type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError)


def _in_words(error: Exception, log: Path) -> str:
    if isinstance(error, LabkitError):
        return str(error)
    if _is_out_of_memory(error):
        return (
            "The device ran out of memory. Halve batch_size, or choose a method that tunes less "
            "of the model."
        )
    return f"labkit failed ({type(error).__name__}: {error}). The details are in {log}."
