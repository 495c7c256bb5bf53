"""Texts as token ids, and batches of rows of like length, so that little is padding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class TokenRows:
    """The token ids of N texts, end to end."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    """Where each text starts in `ids`; shape (N + 1,)."""
    num_cut: int = 0
    """How many texts were longer than allowed and cut."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths_N(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "TokenRows":
        pieces = [self.ids[self.starts[n] : self.starts[n + 1]] for n in rows]
        return _join(pieces)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Ids and mask of those rows, (B, T) each, T the longest of them.

        Rows of one length have no mask: there is nothing to hide, and attention does less.
        """
        lengths_B = self.lengths_N[rows]
        mask_BT = np.arange(lengths_B.max(initial=1)) < lengths_B[:, None]
        ids_BT = np.zeros(mask_BT.shape, dtype=np.int64)
        ids_BT[mask_BT] = np.concatenate(
            [self.ids[self.starts[n] : self.starts[n + 1]] for n in rows]
        )
        ids = torch.from_numpy(ids_BT)
        return (ids,) if mask_BT.all() else (ids, torch.from_numpy(mask_BT))


def tokenize(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> TokenRows:
    """`texts` with a fast tokenizer of transformers, cut at `max_tokens`."""
    pieces: list[NDArray[np.int32]] = []
    num_cut = 0
    for start in range(0, len(texts), 4096):
        encoded = tokenizer(
            list(texts[start : start + 4096]), truncation=True, max_length=max_tokens
        )
        pieces += [np.asarray(ids, dtype=np.int32) for ids in encoded["input_ids"]]
        num_cut += sum(bool(encoding.overflowing) for encoding in encoded.encodings)
    return _join(pieces, num_cut)


def batches_of_like_length(
    lengths_N: NDArray[np.int64], batch_size: int, seed: tuple[int, ...]
) -> list[NDArray[np.int64]]:
    """Every row once, in batches of rows of nearly one length, in random order.

    Rows of the same length are shuffled before they are cut into batches, and the batches
    are shuffled after: padding falls to a few per cent, batches differ from epoch to epoch.
    """
    rng = np.random.default_rng(seed)
    order_N = np.lexsort((rng.random(len(lengths_N)), lengths_N))
    batches = np.array_split(order_N, max(1, -(-len(order_N) // batch_size)))
    return [batches[b] for b in rng.permutation(len(batches))]


def in_order_of_length(
    lengths_N: NDArray[np.int64], tokens_per_batch: int
) -> Iterator[NDArray[np.int64]]:
    """Every row once, shortest first, about `tokens_per_batch` at a time; for inference."""
    order_N = np.argsort(lengths_N, kind="stable")
    start = 0
    while start < len(order_N):
        count = max(1, tokens_per_batch // int(lengths_N[order_N[start]] or 1))
        count = max(1, tokens_per_batch // int(lengths_N[order_N[start : start + count][-1]] or 1))
        yield order_N[start : start + count]
        start += count


def _join(pieces: Sequence[NDArray[np.int32]], num_cut: int = 0) -> TokenRows:
    starts = np.zeros(len(pieces) + 1, dtype=np.int64)
    np.cumsum([len(piece) for piece in pieces], out=starts[1:])
    ids = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int32)
    return TokenRows(ids, starts, num_cut)
