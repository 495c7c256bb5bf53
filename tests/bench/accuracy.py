"""The default settings on BANKING77, trained on its train file and measured on its test file.

The recipe's own steps as a run takes them, without Ray: what is measured is what people get.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labkit.data.labelled import LabelledParts
from labkit.demo import demo_weights
from labkit.models.catalogue import inspect_folder
from labkit.recipes import RECIPES
from labkit.recipes.base import Task, TrainContext
from labkit.train.workers import ALONE
from tests.bench import banking77
from tests.bench.table import Table, skipped

TITLE = "BANKING77, official test part, default settings"
TUNED_GOAL, INSTANT_GOAL, INSTANT_GOAL_S = 0.935, 0.925, 40


@dataclass(frozen=True)
class Measured:
    """Shares of right answers on the test part, and seconds."""

    instant: float
    instant_s: float
    tuned: float | None = None
    tuned_s: float = 0.0


def measure(*, quick: bool, threads: int, seeds: int) -> Iterator[Table]:
    if why := banking77.missing():
        yield skipped(TITLE, why)
        return
    torch.set_num_threads(threads)
    measured = [one_seed(seed, threads, tune=not quick) for seed in range(1 if quick else seeds)]
    yield Table(TITLE, ["", "accuracy", "goal", "seconds"], [_instant(measured), _tuned(measured)])


def one_seed(seed: int, threads: int, *, tune: bool) -> Measured:
    """Prepare, instant answer and, if asked, tuning, in a folder that is removed after."""
    recipe = RECIPES.load("text-classification")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        task = Task(
            config=recipe.Config.model_validate({"label": banking77.LABEL}),
            base=inspect_folder(demo_weights()),
            data=banking77.TRAIN,
            test=banking77.TEST,
            seed=seed,
        )
        recipe.prepare(task).save(folder)
        context = _context(task, folder, threads)
        started = time.monotonic()
        baselines = recipe.baselines(context)
        instant_s = time.monotonic() - started
        answers = np.array(baselines["the instant answer"])
        instant = float((answers == np.array(LabelledParts.load(folder).held_out.labels)).mean())
        if not tune:
            return Measured(instant, instant_s)
        recipe.train(context)
        tuned_s = time.monotonic() - started - instant_s
        tuned = recipe.evaluate(context, baselines).tuned["accuracy"].value
    print(f"  seed {seed}: instant {instant:.2%}, tuned {tuned:.2%} in {tuned_s:.0f} s", flush=True)
    return Measured(instant, instant_s, tuned, tuned_s)


def _context(task: Task, folder: Path, threads: int) -> TrainContext:
    def silent(**_: Any) -> None:
        pass

    return TrainContext(
        task=task,
        dataset=folder,
        folder=folder,
        device="cpu",
        num_threads=threads,
        resume_from=None,
        report=silent,
        should_stop=lambda: False,
        workers=ALONE,
    )


def _instant(measured: list[Measured]) -> list[str]:
    seconds = statistics.median(m.instant_s for m in measured)
    goal = f"{INSTANT_GOAL:.1%} in {INSTANT_GOAL_S} s"
    return ["instant answer", f"{measured[0].instant:.2%}", goal, f"{seconds:.0f}"]


def _tuned(measured: list[Measured]) -> list[str]:
    found = [m.tuned for m in measured if m.tuned is not None]
    if not found:
        return ["tuned", "not asked", f"{TUNED_GOAL:.1%}", ""]
    each = ", ".join(f"{accuracy:.2%}" for accuracy in found)
    seconds = statistics.median(m.tuned_s for m in measured)
    mean = f"{statistics.mean(found):.2%} (seeds: {each})"
    return ["tuned", mean, f"{TUNED_GOAL:.1%}", f"{seconds:.0f}"]
