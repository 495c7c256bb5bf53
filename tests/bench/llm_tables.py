"""What the bench of language models prints."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

import numpy as np
import torch

from labkit.train.compiled import why_not
from tests.bench.llm_contenders import missing
from tests.bench.llm_meter import Job, Outcome
from tests.bench.table import Table, judged

FORMULA = (
    "Arithmetic of a token: for each weight of a linear layer 2 forward, 2 for the gradient of "
    "what comes in, 2 more where it is tuned, the output layer's for tokens to learn alone; for "
    "attention 6 × layers × width × length of its example. No work: padding, what is computed "
    "anew, embeddings."
)

GOAL_TRL, GOAL_PACKED = 1.3, 0.85
GOAL_TUNED, GOAL_DEFAULTS = 1.25, 1.8
"""On a GPU, beside peers that are tuned alike and beside their defaults."""
GIB = 2**30
_WORDS = {"full": "the whole tuned", "lora": "LoRA"}


def processor_table(job: Job, outcomes: Mapping[str, Sequence[Outcome]], peak: float) -> Table:
    """Of several rounds in turns, medians. `peak` is in operations a second."""
    wall = _medians(outcomes, lambda outcome: outcome.tokens_per_second)
    core = _medians(outcomes, lambda outcome: outcome.tokens_per_core_second)
    flop_per_token = outcomes["labkit"][0].flop_per_token
    rows = [
        [
            name,
            f"{wall[name]:,.0f}",
            f"{wall['labkit'] / wall[name]:.2f} ×",
            f"{core[name]:,.0f}",
            f"{core['labkit'] / core[name]:.2f} ×",
            f"{core[name] * torch.get_num_threads() * flop_per_token / peak:.0%}",
            f"{each[0].padding:.2f} ×",
            _losses(each),
        ]
        for name, each in outcomes.items()
    ]
    measured = ["tokens/s", "labkit is", "tokens/core s", "labkit is"]
    notes = [
        _lengths(job),
        f"Tokens: with padding, for each without. {_limit(job, peak, flop_per_token)} The share is "
        "by seconds of cores.",
        _packed(wall, outcomes),
        _compiled(wall),
        missing() or _beside_trl(wall),
    ]
    title = f"Language model, {_WORDS[job.method]}: labkit's functions from their docstrings"
    return Table(title, ["", *measured, "of the limit", "tokens", "loss"], rows, notes)


def device_table(
    name: str,
    job: Job,
    outcomes: Mapping[str, Sequence[Outcome]],
    peak: float,
    goal: float | None,
) -> Table:
    """Of one round. `goal` is in tokens a second of labkit's."""
    ours = outcomes["labkit"][0]
    rows = [
        [
            side,
            f"{each[0].tokens_per_second:,.0f}",
            f"{ours.tokens_per_second / each[0].tokens_per_second:.2f} ×",
            _goal(side),
            f"{each[0].tokens_per_second * ours.flop_per_token / peak:.0%}",
            f"{each[0].peak_bytes / GIB:.1f}" if each[0].peak_bytes else "",
            _losses(each),
        ]
        for side, each in outcomes.items()
    ]
    notes = [
        f"{job.loop.batch_size} rows of {job.max_tokens} tokens a step. "
        f"{_limit(job, peak, ours.flop_per_token)}"
    ]
    if goal:
        share = f"{goal:,.0f} tokens/s on one H200"
        notes.append(judged(share, ours.tokens_per_second >= goal))
    if ours.planned_bytes:
        used = ours.peak_bytes / ours.planned_bytes
        planned = f"Memory planned {ours.planned_bytes / GIB:.1f} GiB"
        words = f"{planned}, used {used:.2f} of it, 0.9 to 1.1"
        notes.append(judged(words, 0.9 <= used <= 1.1))
    if why := missing():
        notes.append(why)
    columns = ["", "tokens/s", "labkit is", "goal on a GPU", "of the limit", "GiB at most", "loss"]
    return Table(f"{name}, {_WORDS[job.method]}, random weights", columns, rows, notes)


def _lengths(job: Job) -> str:
    low, middle, high = np.percentile(job.lengths, [10, 50, 90])
    learnt = sum(seen.num_learnt for seen in job.examples) / job.num_tokens
    return (
        f"{len(job.examples)} examples, {job.num_tokens:,} tokens, {learnt:.0%} of them learnt; "
        f"lengths {min(job.lengths)} to {max(job.lengths)}, a tenth below {low:.0f}, half below "
        f"{middle:.0f}, nine tenths below {high:.0f}. {job.loop.batch_size} examples a step, "
        f"{job.num_steps} steps; TRL's packs hold {job.max_tokens} tokens, as many a step as come "
        f"to the same. The time of the first {job.num_warm_up} passes is not counted. Loss: on "
        "held-out examples, before and after."
    )


def _limit(job: Job, peak: float, flop_per_token: float) -> str:
    return (
        f"Limit: {peak / 1e12:,.2f} TFLOP/s of matrix products in {job.loop.dtype}, "
        f"{flop_per_token / 1e9:,.3f} GFLOP a token: {peak / flop_per_token:,.0f} tokens/s. "
        f"{FORMULA}"
    )


def _packed(wall: Mapping[str, float], outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    padding = outcomes["labkit, padded"][0].padding
    ratio = wall["labkit"] / wall["labkit, padded"]
    goal = f"Packed against padded {ratio:.2f} ×, at least {GOAL_PACKED:g} × {padding:.2f}"
    return judged(goal, ratio >= GOAL_PACKED * padding)


def _compiled(wall: Mapping[str, float]) -> str:
    if lacking := why_not():
        return f"No line of compiled blocks: {lacking}."
    ratio = wall["labkit, compiled"] / wall["labkit"]
    return f"Compiled blocks {ratio:.2f} × uncompiled ones; compiling itself is not counted."


def _beside_trl(wall: Mapping[str, float]) -> str:
    best = max(rate for name, rate in wall.items() if name.startswith("TRL"))
    ratio = wall["labkit"] / best
    goal = f"Of TRL {version('trl')} at its best {ratio:.2f} ×, at least {GOAL_TRL:g} ×"
    return judged(goal, ratio >= GOAL_TRL)


def _goal(side: str) -> str:
    if side.startswith("labkit"):
        return ""
    return f"{GOAL_DEFAULTS if 'defaults' in side else GOAL_TUNED:g} ×"


def _losses(each: Sequence[Outcome]) -> str:
    return f"{each[0].first_loss:.2f} → {each[-1].loss:.2f}"


def _medians(
    outcomes: Mapping[str, Sequence[Outcome]], figure: Callable[[Outcome], float]
) -> dict[str, float]:
    return {name: statistics.median(map(figure, each)) for name, each in outcomes.items()}
