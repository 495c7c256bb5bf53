"""Examples of uneven length laid end to end, so that a device computes no padding.

A batch is cut into rows of at most so many tokens, by best fit; where the examples of a row
begin is all that attention and positions need to keep them apart.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labkit.train.chat import Seen


@dataclass(frozen=True, kw_only=True)
class Row:
    """N examples end to end, T tokens together, of which P are followed by one to learn."""

    ids_T: Tensor
    positions_T: Tensor
    """Each token's place in its own example."""
    bounds: Tensor
    """Where each example begins, and where the last ends; int32, shape (N + 1,)."""
    max_length: int
    """Of the longest example."""
    learnt_P: Tensor
    """The places in the row whose next token is learnt."""
    targets_P: Tensor
    """Those next tokens."""
    example_P: Tensor
    """Of which example of the row each of them is, from 0."""

    def to(self, device: str) -> "Row":
        moved = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)


def lay_out(examples: Sequence[Seen]) -> Row:
    """Those examples, each cut at its `max_tokens`, as one row."""
    ids = [seen.ids_T[: seen.max_tokens] for seen in examples]
    lengths_N = np.array([len(one) for one in ids])
    bounds = np.concatenate([[0], np.cumsum(lengths_N)])
    learnt_T = np.concatenate([_next_is_learnt(seen) for seen in examples])
    ids_T = np.concatenate(ids).astype(np.int64)
    learnt_P = np.flatnonzero(learnt_T)
    return Row(
        ids_T=torch.from_numpy(ids_T),
        positions_T=torch.from_numpy(np.concatenate([np.arange(n) for n in lengths_N])),
        bounds=torch.from_numpy(bounds.astype(np.int32)),
        max_length=int(lengths_N.max()),
        learnt_P=torch.from_numpy(learnt_P),
        targets_P=torch.from_numpy(ids_T[learnt_P + 1]),
        example_P=torch.from_numpy(np.searchsorted(bounds, learnt_P, side="right") - 1),
    )


def best_fit(lengths_N: Sequence[int] | NDArray[np.int64], room: int) -> list[list[int]]:
    """Which of the N go into each row of `room` tokens: longest first, each where least is left.

    What is longer than a row gets one of its own. (Best-fit decreasing; it needs at most 11/9
    of the fewest rows that could do, and one more: Johnson et al. 1974.)
    """
    rows: list[list[int]] = []
    left: list[tuple[int, int]] = []  # what is left in each row, and which it is; ascending
    for n in sorted(range(len(lengths_N)), key=lambda n: -int(lengths_N[n])):
        length = int(lengths_N[n])
        place = bisect_left(left, (length, -1))
        if place == len(left):
            rows.append([n])
            insort(left, (max(0, room - length), len(rows) - 1))
        else:
            free, row = left.pop(place)
            rows[row].append(n)
            insort(left, (free - length, row))
    return rows


def _next_is_learnt(seen: Seen) -> NDArray[np.bool_]:
    learnt_T = seen.learnt_T[: seen.max_tokens]
    return np.append(learnt_T[1:], False)
