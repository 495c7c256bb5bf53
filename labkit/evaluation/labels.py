"""How good a classifier is, with intervals, and whether it beats a baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labkit.evaluation.base import (
    Evaluation,
    Floats,
    Interval,
    Ints,
    Scores,
    interval,
    resample,
    verdict,
)


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Rows of one label that were taken for another."""

    label: str
    taken_for: str
    count: int
    share: float
    """Of the rows of `label`."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One held-out row that was answered wrongly."""

    row: int
    text: str
    label: str
    answered: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class LabelEvaluation(Evaluation):
    """Accuracy and macro-F1; gains are those of accuracy."""

    confusions: Sequence[Confusion]
    mistakes: Sequence[Mistake]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The held-out rows with the truth and what the tuned model said."""

    labels: Sequence[str]
    """All labels, by index."""
    truth_N: Ints
    answered_N: Ints
    confidence_N: Floats
    texts: Sequence[str]
    rows: Sequence[int]


def compare(answers: Answers, baselines: Mapping[str, Ints], *, seed: int = 0) -> LabelEvaluation:
    """Score the tuned model and the baselines on the same rows."""
    rng = np.random.default_rng(seed)
    num_labels = len(answers.labels)
    truth_N = answers.truth_N
    gains = {
        name: accuracy_gain(truth_N, answers.answered_N, other_N, rng)
        for name, other_N in baselines.items()
    }
    return LabelEvaluation(
        num_rows=len(truth_N),
        tuned=score(truth_N, answers.answered_N, num_labels, rng),
        baselines={
            name: score(truth_N, other_N, num_labels, rng) for name, other_N in baselines.items()
        },
        gains=gains,
        verdict=verdict(gains),
        confusions=worst_confusions(answers),
        mistakes=worst_mistakes(answers),
    )


def score(truth_N: Ints, answered_N: Ints, num_labels: int, rng: np.random.Generator) -> Scores:
    """Accuracy and macro-F1 with their intervals.

    Macro-F1 is the mean over labels of the F1 score, each counting the same; labels that are
    absent from both truth and answers are not averaged.
    """
    pairs_P2, counts_P = np.unique(
        np.stack([truth_N, answered_N], axis=1), axis=0, return_counts=True
    )
    draws_RP = resample(counts_P, rng)
    right_P = (pairs_P2[:, 0] == pairs_P2[:, 1]).astype(np.float64)
    f1_R = _macro_f1(pairs_P2, np.vstack([counts_P.astype(np.float64), draws_RP]), num_labels)
    return {
        "accuracy": interval(
            float(counts_P @ right_P / len(truth_N)), draws_RP @ right_P / len(truth_N)
        ),
        "macro_f1": interval(float(f1_R[0]), f1_R[1:]),
    }


def accuracy_gain(
    truth_N: Ints, ours_N: Ints, theirs_N: Ints, rng: np.random.Generator
) -> Interval:
    """Our accuracy less theirs, with the interval of the paired difference."""
    gain_N = (ours_N == truth_N).astype(np.int64) - (theirs_N == truth_N)
    values_P, counts_P = np.unique(gain_N, return_counts=True)
    draws_RP = resample(counts_P, rng)
    return interval(float(gain_N.mean()), draws_RP @ values_P / len(gain_N))


def worst_confusions(answers: Answers, limit: int = 10) -> list[Confusion]:
    """The pairs of labels that are confused most often, the most frequent first."""
    wrong_N = answers.truth_N != answers.answered_N
    if not wrong_N.any():
        return []
    wrong_M2 = np.stack([answers.truth_N, answers.answered_N], axis=1)[wrong_N]
    pairs_P2, counts_P = np.unique(wrong_M2, axis=0, return_counts=True)
    of_label = np.bincount(answers.truth_N, minlength=len(answers.labels))
    return [
        Confusion(
            label=answers.labels[int(pairs_P2[p, 0])],
            taken_for=answers.labels[int(pairs_P2[p, 1])],
            count=int(counts_P[p]),
            share=float(counts_P[p] / of_label[pairs_P2[p, 0]]),
        )
        for p in np.argsort(-counts_P, kind="stable")[:limit]
    ]


def worst_mistakes(answers: Answers, limit: int = 10) -> list[Mistake]:
    """The wrong answers that the model was surest of."""
    wrong = np.flatnonzero(answers.truth_N != answers.answered_N)
    surest_first = wrong[np.argsort(-answers.confidence_N[wrong], kind="stable")]
    return [
        Mistake(
            row=answers.rows[n],
            text=answers.texts[n],
            label=answers.labels[int(answers.truth_N[n])],
            answered=answers.labels[int(answers.answered_N[n])],
            confidence=float(answers.confidence_N[n]),
        )
        for n in map(int, surest_first[:limit])
    ]


def _macro_f1(pairs_P2: Ints, counts_RP: Floats, num_labels: int) -> Floats:
    """Macro-F1 of each row of counts over (truth, answer) pairs; shape (R,)."""
    truth_PL = np.eye(num_labels)[pairs_P2[:, 0]]
    answered_PL = np.eye(num_labels)[pairs_P2[:, 1]]
    right_RL = counts_RP @ (truth_PL * answered_PL)
    total_RL = counts_RP @ truth_PL + counts_RP @ answered_PL
    f1_RL: Floats = np.divide(
        2 * right_RL, total_RL, out=np.zeros_like(right_RL), where=total_RL > 0
    )
    return f1_RL.sum(axis=1) / np.maximum((total_RL > 0).sum(axis=1), 1)
