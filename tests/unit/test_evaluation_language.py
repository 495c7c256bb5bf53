"""The loss on held-out answers, its interval, and when a tuned model is called better."""

import math

import numpy as np
import pytest

from labkit.evaluation.base import RESAMPLES
from labkit.evaluation.language import Foretold, LanguageEvaluation, compare_losses


def foretold(per_token: np.ndarray, tokens: np.ndarray) -> Foretold:
    return Foretold(losses_N=per_token * tokens, tokens_N=tokens)


def rows(num_rows: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Losses a token and numbers of tokens, uneven."""
    rng = np.random.default_rng(seed)
    return rng.gamma(4.0, 0.5, num_rows), rng.integers(1, 60, num_rows).astype(np.float64)


def compare(tuned: Foretold, base: Foretold, seed: int = 0) -> LanguageEvaluation:
    return compare_losses(tuned, {"the base model": base}, compared=[], seed=seed)


def test_the_loss_is_a_mean_over_tokens_and_perplexity_its_exponential():
    short, long = (
        foretold(np.array([4.0]), np.array([1.0])),
        foretold(np.array([1.0]), np.array([9.0])),
    )
    both = Foretold(
        losses_N=np.concatenate([short.losses_N, long.losses_N]),
        tokens_N=np.concatenate([short.tokens_N, long.tokens_N]),
    )
    found = compare(both, both)
    assert found.tuned["loss"].value == pytest.approx(1.3)
    assert found.tuned["perplexity"].value == pytest.approx(math.exp(1.3))
    assert (found.num_rows, found.num_tokens) == (2, 10)


def test_the_interval_is_that_of_resampled_rows():
    """The multinomial draw of counts against rows drawn one by one."""
    losses, tokens = rows()
    found = compare(foretold(losses, tokens), foretold(losses, tokens)).tuned["loss"]
    drawn_RN = np.random.default_rng(4).integers(len(losses), size=(RESAMPLES, len(losses)))
    draws_R = (losses * tokens)[drawn_RN].sum(1) / tokens[drawn_RN].sum(1)
    low, high = np.percentile(draws_R, [2.5, 97.5])
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


def test_a_gain_is_paired_and_above_0_where_the_tuned_model_loses_less():
    losses, tokens = rows()
    found = compare(foretold(losses - 0.05, tokens), foretold(losses, tokens))
    gain = found.gains["the base model"]
    assert gain.low == pytest.approx(0.05) and gain.high == pytest.approx(0.05)
    assert found.tuned["loss"].high > found.baselines["the base model"]["loss"].low
    assert found.verdict == "Better than the base model on the held-out rows."


@pytest.mark.parametrize(
    ("noise", "shift", "sentence"),
    [
        (0.0, 0.0, "No better than the base model: the difference may be chance."),
        (1.0, -0.02, "No better than the base model: the difference may be chance."),
        (0.1, 0.5, "Worse than the base model on the held-out rows."),
    ],
)
def test_what_is_not_better_is_said_plainly(noise: float, shift: float, sentence: str):
    losses, tokens = rows()
    other = losses + shift + noise * np.random.default_rng(1).normal(size=len(losses))
    assert compare(foretold(other, tokens), foretold(losses, tokens)).verdict == sentence


def test_an_evaluation_is_the_same_for_the_same_seed():
    losses, tokens = rows()
    one, again, other = (compare(foretold(losses, tokens), foretold(losses, tokens), seed)
                         for seed in (1, 1, 2))  # fmt: skip
    assert one == again and one.tuned != other.tuned
