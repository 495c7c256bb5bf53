"""How well a language model foretells the held-out answers, and whether it beats its base."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labkit.evaluation.base import (
    RESAMPLES,
    Evaluation,
    Floats,
    Interval,
    Scores,
    interval,
    verdict,
)

_DRAWS_AT_A_TIME = 50


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One held-out question with what was wanted, and what each model answers."""

    row: int
    question: str
    wanted: str
    tuned: str
    others: Mapping[str, str]
    """The baselines' answers, by name."""


@dataclass(frozen=True, kw_only=True)
class LanguageEvaluation(Evaluation):
    """Loss in nats a token and its perplexity; gains are those of loss, lower being better."""

    num_tokens: int
    """Of the held-out answers."""
    compared: Sequence[Compared]
    notes: Sequence[str]
    """What the figures leave out, in sentences."""


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """How well one model foretells each of N held-out rows."""

    losses_N: Floats
    """The sum over the row's answer, in nats."""
    tokens_N: Floats
    """The tokens of the row's answer."""


def compare_losses(
    tuned: Foretold,
    baselines: Mapping[str, Foretold],
    *,
    compared: Sequence[Compared],
    notes: Sequence[str] = (),
    seed: int = 0,
) -> LanguageEvaluation:
    """Score the tuned model and the baselines on the same rows, resampled together."""
    models = {"": tuned, **baselines}
    values = {name: _loss(one) for name, one in models.items()}
    draws = _draw(list(models.values()), np.random.default_rng(seed))
    draws_R = dict(zip(models, draws, strict=True))
    scores = {name: _scores(values[name], draws_R[name]) for name in models}
    gains = {
        name: interval(values[name] - values[""], draws_R[name] - draws_R[""]) for name in baselines
    }
    return LanguageEvaluation(
        num_rows=len(tuned.losses_N),
        num_tokens=int(tuned.tokens_N.sum()),
        tuned=scores.pop(""),
        baselines=scores,
        gains=gains,
        verdict=verdict(gains),
        compared=compared,
        notes=notes,
    )


def _loss(found: Foretold) -> float:
    return float(found.losses_N.sum() / found.tokens_N.sum())


def _draw(models: Sequence[Foretold], rng: np.random.Generator) -> list[Floats]:
    """Each model's loss when the rows are drawn anew, the same rows for all; (R,) each."""
    num_rows = len(models[0].losses_N)
    draws: list[list[Floats]] = [[] for _ in models]
    for start in range(0, RESAMPLES, _DRAWS_AT_A_TIME):
        size = min(_DRAWS_AT_A_TIME, RESAMPLES - start)
        drawn_RN = rng.multinomial(num_rows, np.full(num_rows, 1 / num_rows), size=size)
        for losses, one in zip(draws, models, strict=True):
            losses.append(drawn_RN @ one.losses_N / (drawn_RN @ one.tokens_N))
    return [np.concatenate(parts) for parts in draws]


def _scores(value: float, draws_R: Floats) -> Scores:
    loss = interval(value, draws_R)
    ends = (math.exp(end) for end in (loss.value, loss.low, loss.high))
    return {"loss": loss, "perplexity": Interval(*ends)}
