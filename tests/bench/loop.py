"""Our training loop beside transformers' Trainer: same model, start, rows, epochs and precision.

Whole trainings take turns, so that a machine's moods meet all of them. The limit is what this
machine's matrix products reach between them; padding counts as no work.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from labkit.train.precision import matmul_flops
from tests.bench import banking77
from tests.bench.contenders import Job, Outcome, prepare, train_by_trainer, train_ours
from tests.bench.table import Table, skipped

TITLE = "Training loop alone, rows of BANKING77"
GOAL_BEST, GOAL_DEFAULT, GOAL_ACCURACY = 2.0, 4.0, 0.005
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkldnn::_linear")

CONTENDERS: dict[str, Callable[[Job], Outcome]] = {
    "labkit": train_ours,
    "Trainer, its best (eager, grouped by length)": lambda job: train_by_trainer(job, best=True),
    "Trainer, its defaults (SDPA, random order)": lambda job: train_by_trainer(job, best=False),
}


@dataclass(frozen=True)
class Cost:
    """Where our loop's processor time goes."""

    products: float
    """Share of matrix products."""
    next: str
    """The three largest others, in words."""


def measure(*, quick: bool, threads: int, seeds: int) -> Iterator[Table]:
    if why := banking77.missing():
        yield skipped(TITLE, why)
        return
    torch.set_num_threads(threads)
    job = prepare(num_rows=1280 if quick else 4800, num_epochs=1)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in CONTENDERS}
    limits: list[float] = []
    for _ in range(1 if quick else 2):
        for name, train in CONTENDERS.items():
            limits.append(matmul_flops("cpu", job.settings.dtype))
            outcomes[name].append(train(job))
            print(f"  {name}: {outcomes[name][-1].rows_per_second:.1f} rows/s", flush=True)
    yield _table(job, outcomes, max(limits))
    yield _costs(profiled(prepare(num_rows=384, num_epochs=1)))


def flop_per_row(job: Job) -> float:
    """Multiplications and additions of forward and backward: 6 for a weight and token."""
    encoder = job.model().encoder
    weights = sum(
        module.weight.numel()
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and "pooler" not in name
    )
    return 6 * weights * float(np.mean(job.train.lengths_N))


def profiled(job: Job) -> Cost:
    """A short training of ours under torch's profiler."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        train_ours(job)
    times = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    total = sum(times.values())
    others = sorted((time, name) for name, time in times.items() if name not in PRODUCTS)[:-4:-1]
    return Cost(
        products=sum(times.get(name, 0.0) for name in PRODUCTS) / total,
        next=", ".join(
            f"{name.removeprefix('aten::')} {time / total:.1%}" for time, name in others
        ),
    )


def _table(job: Job, outcomes: dict[str, list[Outcome]], limit: float) -> Table:
    wall = _medians(outcomes, lambda outcome: outcome.rows_per_second)
    core = _medians(outcomes, lambda outcome: outcome.rows_per_core_second)
    threads = torch.get_num_threads()
    rows = [
        [
            name,
            f"{wall[name]:.1f}",
            f"{wall['labkit'] / wall[name]:.2f} ×",
            f"{core[name]:.1f}",
            f"{core['labkit'] / core[name]:.2f} ×",
            f"{core[name] * threads * flop_per_row(job) / limit:.0%}",
            f"{statistics.mean(o.padding for o in each):.2f} ×",
            f"{statistics.mean(o.accuracy for o in each):.2%}",
        ]
        for name, each in outcomes.items()
    ]
    columns = [
        "",
        "rows/s",
        "labkit is",
        "rows/core s",
        "labkit is",
        "of the limit",
        "tokens",
        "accuracy",
    ]
    limit_rows = limit / flop_per_row(job)
    notes = [
        "Tokens: with padding, for each without. The Trainer groups better the more rows there "
        "are; over all 10,003 it would have 1.09 ×.",
        f"Limit: {limit / 1e9:.0f} GFLOP/s in {job.settings.dtype}, {limit_rows:.0f} rows/s "
        f"of {np.mean(job.train.lengths_N):.1f} tokens; the share is by seconds of cores. "
        f"Goals: {GOAL_BEST:g} × its best, {GOAL_DEFAULT:g} × its defaults, "
        f"accuracy within {GOAL_ACCURACY:.1%}.",
    ]
    return Table(TITLE, columns, rows, notes)


def _medians(
    outcomes: dict[str, list[Outcome]], figure: Callable[[Outcome], float]
) -> dict[str, float]:
    return {name: statistics.median(map(figure, each)) for name, each in outcomes.items()}


def _costs(cost: Cost) -> Table:
    row = [f"{cost.products:.0%}", cost.next]
    return Table("Where our loop's processor time goes", ["matrix products", "next"], [row])
