"""What every evaluation says: scores with intervals, and whether the baselines are beaten.

Intervals are 95 % percentile bootstrap intervals over the held-out rows (Efron and
Tibshirani 1993, chapter 13); a comparison resamples the same rows for both (paired).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def includes_zero(self) -> bool:
        return self.low <= 0 <= self.high


Scores = Mapping[str, Interval]
"""The figures of one model, by the names in `MEASURES`."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure as it is shown."""

    title: str
    show: Callable[[float], str]

    def with_interval(self, found: Mapping[str, float]) -> str:
        """'81.0% (70.0% to 90.0%)', from an Interval as a dictionary."""
        value, low, high = (self.show(found[end]) for end in ("value", "low", "high"))
        return f"{value} ({low} to {high})"


MEASURES = {
    "accuracy": Measure(title="accuracy", show="{:.1%}".format),
    "macro_f1": Measure(title="macro-F1", show="{:.1%}".format),
    "loss": Measure(title="loss", show="{:.3f}".format),
    "perplexity": Measure(title="perplexity", show="{:.2f}".format),
}
"""Everything that is measured, in the order in which it is shown."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The tuned model against its baselines on the held-out part."""

    num_rows: int
    tuned: Scores
    baselines: Mapping[str, Scores]
    gains: Mapping[str, Interval]
    """How much better the tuned model is than each baseline, paired; above 0 is better."""
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measured(scores: Collection[str]) -> dict[str, Measure]:
    """The measures that there are scores of, in their order."""
    return {key: measure for key, measure in MEASURES.items() if key in scores}


def verdict(gains: Mapping[str, Interval]) -> str:
    """One sentence: what the tuned model is better than, and what it is not."""
    unbeaten = [name for name, gain in gains.items() if gain.includes_zero]
    worse = [name for name, gain in gains.items() if gain.high < 0]
    if worse:
        return f"Worse than {_join(worse)} on the held-out rows."
    if unbeaten:
        return f"No better than {_join(unbeaten)}: the difference may be chance."
    return f"Better than {_join(list(gains))} on the held-out rows."


def resample(counts_P: Ints, rng: np.random.Generator) -> Floats:
    """How often each distinct outcome is drawn when the rows are drawn anew; (R, P).

    Drawing N rows with replacement and counting them is one multinomial draw.
    """
    num_rows = int(counts_P.sum())
    return rng.multinomial(num_rows, counts_P / num_rows, size=RESAMPLES).astype(np.float64)


def interval(value: float, draws_R: NDArray[np.floating]) -> Interval:
    """The figure, with the interval of what it was in each draw."""
    low, high = np.percentile(draws_R, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def _join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
