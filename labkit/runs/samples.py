"""What a model answers while it learns: a few questions, asked anew at each validation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A question of the validation part, which it does not learn from."""

    row: int
    question: str
    wanted: str
    first: str
    """Its answer at the first validation."""
    now: str


def samples(metrics: Iterable[Mapping[str, Any]]) -> list[Sample]:
    """Of the lines of `metrics.jsonl`; nothing where none was asked yet."""
    times = [found for line in metrics if (found := line.get("samples"))]
    if not times:
        return []
    first = {one["row"]: one["answer"] for one in times[0]}
    return [
        Sample(
            row=one["row"],
            question=one["question"],
            wanted=one["wanted"],
            first=first.get(one["row"], ""),
            now=one["answer"],
        )
        for one in times[-1]
    ]
