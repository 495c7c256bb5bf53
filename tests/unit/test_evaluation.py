"""Scores against scikit-learn's, intervals, and what may be said of a difference."""

import numpy as np
import pytest

from labkit.evaluation.base import RESAMPLES, Interval, verdict
from labkit.evaluation.labels import (
    Answers,
    accuracy_gain,
    compare,
    score,
    worst_confusions,
    worst_mistakes,
)

LABELS = ["cat", "dog", "eel"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def answers(truth: list[int], answered: list[int], confidence: list[float]) -> Answers:
    return Answers(
        labels=LABELS,
        truth_N=np.array(truth),
        answered_N=np.array(answered),
        confidence_N=np.array(confidence),
        texts=[f"text {n}" for n in range(len(truth))],
        rows=[n + 2 for n in range(len(truth))],
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_labels", [2, 7])
def test_scores_are_those_of_scikit_learn(seed, num_labels):
    metrics = pytest.importorskip("sklearn.metrics")
    truth_N = rng(seed).integers(num_labels, size=90)
    answered_N = np.where(
        rng(seed + 9).random(90) < 0.7, truth_N, rng(3).integers(num_labels, size=90)
    )
    found = score(truth_N, answered_N, num_labels, rng())
    assert found["accuracy"].value == pytest.approx(metrics.accuracy_score(truth_N, answered_N))
    assert found["macro_f1"].value == pytest.approx(
        metrics.f1_score(truth_N, answered_N, average="macro")
    )


def test_a_label_that_nobody_has_is_not_averaged():
    metrics = pytest.importorskip("sklearn.metrics")
    truth_N, answered_N = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    expected = metrics.f1_score(truth_N, answered_N, average="macro")
    assert score(truth_N, answered_N, 5, rng())["macro_f1"].value == pytest.approx(expected)


def test_the_interval_is_that_of_resampled_rows():
    """The multinomial draw of counts against rows drawn one by one."""
    truth_N = rng(1).integers(3, size=120)
    answered_N = np.where(rng(2).random(120) < 0.8, truth_N, (truth_N + 1) % 3)
    found = score(truth_N, answered_N, 3, rng())["accuracy"]
    right_N = truth_N == answered_N
    draws_R = right_N[rng(4).integers(120, size=(RESAMPLES, 120))].mean(axis=1)
    low, high = np.percentile(draws_R, [2.5, 97.5])
    assert found.low == pytest.approx(low, abs=0.01)
    assert found.high == pytest.approx(high, abs=0.01)


def test_the_interval_covers_the_true_accuracy_about_nineteen_times_in_twenty():
    covered = 0
    for seed in range(200):
        right_N = (rng(seed).random(100) < 0.8).astype(np.int64)
        found = score(np.ones(100, np.int64), right_N, 2, rng(seed))["accuracy"]
        covered += found.low <= 0.8 <= found.high
    assert 180 <= covered <= 199


def test_all_right_and_all_wrong_have_no_doubt():
    truth_N = np.array([0, 1, 2] * 10)
    assert score(truth_N, truth_N, 3, rng())["accuracy"] == Interval(1.0, 1.0, 1.0)
    assert score(truth_N, (truth_N + 1) % 3, 3, rng())["accuracy"] == Interval(0.0, 0.0, 0.0)


def test_a_gain_is_paired():
    """Two that are right on the same rows differ by nothing, whatever their accuracy."""
    truth_N = np.zeros(50, np.int64)
    half_N = np.array([0, 1] * 25)
    assert accuracy_gain(truth_N, half_N, half_N, rng()) == Interval(0.0, 0.0, 0.0)
    gain = accuracy_gain(truth_N, truth_N, half_N, rng())
    assert gain.value == 0.5 and 0 < gain.low < 0.5 < gain.high


@pytest.mark.parametrize(
    ("gains", "sentence"),
    [
        ({"a": Interval(0.2, 0.1, 0.3)}, "Better than a on the held-out rows."),
        (
            {"a": Interval(0.2, 0.1, 0.3), "b": Interval(0.1, 0.01, 0.2)},
            "Better than a and b on the held-out rows.",
        ),
        (
            {"a": Interval(0.2, 0.1, 0.3), "b": Interval(0.1, -0.01, 0.2)},
            "No better than b: the difference may be chance.",
        ),
        ({"a": Interval(0.1, 0.0, 0.2)}, "No better than a: the difference may be chance."),
        (
            {"a": Interval(-0.2, -0.3, -0.1), "b": Interval(0.1, -0.01, 0.2)},
            "Worse than a on the held-out rows.",
        ),
    ],
)
def test_the_verdict_claims_no_more_than_the_intervals(gains, sentence):
    assert verdict(gains) == sentence


def test_few_rows_prove_nothing():
    truth = [0, 1] * 4
    one_better = [0, 1] * 3 + [0, 0]
    found = compare(answers(truth, truth, [0.9] * 8), {"the instant answer": np.array(one_better)})
    assert found.gains["the instant answer"].value > 0
    assert found.verdict == "No better than the instant answer: the difference may be chance."


def test_an_evaluation_is_the_same_for_the_same_seed():
    given = answers([0, 1, 2] * 9, [0, 1, 1] * 9, [0.9] * 27)
    others = {"the most frequent label": np.zeros(27, np.int64)}
    assert compare(given, others, seed=3) == compare(given, others, seed=3)
    assert compare(given, others, seed=3).tuned != compare(given, others, seed=4).tuned


def test_confusions_come_most_frequent_first():
    found = worst_confusions(answers([0, 0, 0, 1, 2], [1, 1, 0, 2, 2], [0.5] * 5))
    assert [(c.label, c.taken_for, c.count) for c in found] == [
        ("cat", "dog", 2),
        ("dog", "eel", 1),
    ]
    assert found[0].share == pytest.approx(2 / 3)
    assert worst_confusions(answers([0, 1], [0, 1], [0.5, 0.5])) == []


def test_mistakes_come_surest_first_with_their_row():
    found = worst_mistakes(answers([0, 0, 1], [1, 0, 2], [0.6, 0.99, 0.8]))
    assert [(m.row, m.label, m.answered) for m in found] == [(4, "dog", "eel"), (2, "cat", "dog")]
