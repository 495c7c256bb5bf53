"""What a classifier learns: the cross-entropy of its labels, over batches of rows."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from labkit.train.encoder import autocast
from labkit.train.loop import LoopSettings
from labkit.train.workers import ALONE, Workers


class Rows(Protocol):
    """N labelled rows, cut into batches."""

    @property
    def labels_N(self) -> NDArray[np.int64]: ...

    def batches(self, batch_size: int, seed: tuple[int, ...]) -> Sequence[NDArray[np.int64]]: ...

    def inputs(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """What the model's `forward` takes, for those rows."""
        ...


class LabelLoss:
    """The objective of a classifier whose `forward` gives logits, shape (B, L)."""

    unit = "rows"

    def __init__(
        self,
        model: nn.Module,
        rows: Rows,
        settings: LoopSettings,
        *,
        class_weights_L: Tensor | None = None,
        workers: Workers = ALONE,
    ):
        self.rows, self.settings, self.workers = rows, settings, workers
        self.class_weights_L = class_weights_L
        self.forward = workers.parallel(model)

    def batches(self, seed: tuple[int, ...]) -> Sequence[NDArray[np.int64]]:
        return self.rows.batches(self.settings.batch_size, seed)

    def size(self, batch: NDArray[np.int64]) -> int:
        return len(batch)

    def backward(self, batch: NDArray[np.int64]) -> Tensor:
        device = self.settings.device
        mine = self.workers.share(batch)
        counts = len(mine) > 0
        if not counts:  # the others wait for a backward pass, if only of nothing
            mine = batch[:1]
        labels_B = torch.from_numpy(self.rows.labels_N[mine]).to(device)
        with autocast(device, self.settings.dtype):
            logits_BL = self.forward(*(part.to(device) for part in self.rows.inputs(mine)))
        loss = F.cross_entropy(
            logits_BL.float(),
            labels_B,
            weight=self.class_weights_L,
            label_smoothing=self.settings.label_smoothing,
            reduction="sum",
        )
        # The mean over the whole batch; workers' gradients are averaged, not added.
        loss = loss * (counts * self.workers.size / self._weight_of(batch))
        loss.backward()
        return loss.detach()

    def _weight_of(self, batch: NDArray[np.int64]) -> Tensor | int:
        """Of all its rows together. Left on the device: nobody needs to wait for it."""
        if self.class_weights_L is None:
            return len(batch)
        labels_B = torch.from_numpy(self.rows.labels_N[batch]).to(self.class_weights_L.device)
        return self.class_weights_L[labels_B].sum()
