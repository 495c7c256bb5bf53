"""What a language model learns from examples: the tokens marked in them, whatever holds them.

A batch is so many examples. Its loss is the mean over the tokens that are learnt in all of
them, so it makes no difference how they are packed into rows, how many rows are computed at a
time, or by how many workers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labkit.data.findings import listed_rows
from labkit.errors import LabkitError, OutOfMemory
from labkit.train import packed_attention
from labkit.train.chat import Seen
from labkit.train.compiled import Blocks
from labkit.train.decoder import attending_by, states_of
from labkit.train.encoder import autocast
from labkit.train.loop import LoopSettings
from labkit.train.packing import Row, best_fit, lay_out
from labkit.train.plan import Plan
from labkit.train.sharding import is_sharded, whole
from labkit.train.token_loss import loss_sum, token_losses
from labkit.train.workers import ALONE, Workers


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    batch_size: int
    """Examples in each step."""
    row_tokens: int
    """How many tokens go through the model at a time; a longer example goes alone."""
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    @classmethod
    def of(cls, loop: LoopSettings, row_tokens: int) -> "LossSettings":
        """Those of a loop that is told the same."""
        return cls(
            batch_size=loop.batch_size, row_tokens=row_tokens, device=loop.device, dtype=loop.dtype
        )


def _nothing(message: str) -> None:
    pass


class LanguageLoss:
    """The objective; see `labkit.train.loop.Objective`. `model` is the causal language model."""

    unit = "tokens"

    def __init__(
        self,
        model: Any,
        examples: Sequence[Seen],
        settings: LossSettings,
        workers: Workers = ALONE,
        *,
        plans: Sequence[Plan] = (),
        blocks: Blocks | None = None,
        say: Callable[[str], None] = _nothing,
    ):
        """`plans` are how to compute a row, the leaner ones for a device that runs out of memory,
        which `say` is then told of; as the settings have it, if there are none. Without `blocks`,
        the model's are not compiled."""
        self.model, self.examples = model, examples
        self.settings, self.workers = settings, workers
        self.plans, self.say = [*plans] or [Plan(row_tokens=settings.row_tokens)], say
        self.plans[0].take(model)
        self.blocks = blocks or Blocks(model)
        self.trained = [p for p in model.parameters() if p.requires_grad]
        workers.start_alike(self._replicated)
        model.set_attn_implementation(packed_attention.register())

    def batches(self, seed: tuple[int, ...]) -> list[NDArray[np.int64]]:
        """All examples once, in random order, `batch_size` or one less at a time."""
        order_N = np.random.default_rng(seed).permutation(len(self.examples))
        return np.array_split(order_N, max(1, -(-len(order_N) // self.settings.batch_size)))

    def size(self, batch: NDArray[np.int64]) -> int:
        return sum(self.examples[n].num_tokens for n in batch)

    def backward(self, batch: NDArray[np.int64]) -> Tensor:
        """The batch's mean loss in nats a token; leaves its gradients in weights that have none.

        Raises LabkitError naming the rows where the loss is no number, and where the device has
        too little memory for the leanest plan; OutOfMemory where it has too little for another one,
        of a model that is shared out.
        """
        told_2 = self._backward(batch)
        while told_2[1]:
            self._step_down()
            told_2 = self._backward(batch)
        if not math.isfinite(told_2[0]):  # so that all workers know of it
            raise LabkitError(
                f"Training came apart: the loss is no number, at {self._no_number(batch)}. Lower "
                "learning_rate, or look at these rows. What was saved before is still good."
            )
        return told_2[0]

    def _backward(self, batch: NDArray[np.int64]) -> Tensor:
        """Of all workers, on the processor: the loss, and how many of them ran out of memory."""
        told_2 = torch.zeros(2, device=self.settings.device)
        passes = self._passes(batch)

        def compute() -> Tensor:
            self._forget_gradients()
            return sum((self._row(*one) for one in passes), torch.zeros_like(told_2[0]))

        try:
            told_2[0] = self.blocks.step(compute, self.size(batch))
        except torch.OutOfMemoryError as error:
            if is_sharded(self.model):  # the others wait for it in the midst of a pass
                self._require_another_plan()
                raise OutOfMemory(f"A device ran out of memory with {self.plans[0]}.") from error
            told_2[1] = 1
        for parameter in self.trained:
            if parameter.grad is None:  # of a layer, or a worker, that this batch does not reach
                parameter.grad = torch.zeros_like(parameter)
        self.workers.add_up([*(p.grad for p in self._replicated if p.grad is not None), told_2])
        return told_2.cpu()

    @property
    def _replicated(self) -> list[nn.Parameter]:
        """What is trained and each worker has all of, so that they must add up its gradients."""
        return [] if is_sharded(self.model) else self.trained

    def _row(self, chosen: Sequence[int], weight: float) -> Tensor:
        """The sum of those examples' losses times `weight`; adds its gradients."""
        settings = self.settings
        row = lay_out([self.examples[n] for n in chosen]).to(settings.device)

        def loss() -> Tensor:
            states_PD = states_of(self.model, row).to(settings.dtype)
            return loss_sum(states_PD, self.model.get_output_embeddings(), row.targets_P)

        with autocast(settings.device, settings.dtype):
            weighted = whole(self.model, loss) * weight
        weighted.backward()
        return weighted.detach()

    def _forget_gradients(self) -> None:
        for parameter in self.trained:
            parameter.grad = None

    def _step_down(self) -> None:
        self._forget_gradients()
        if self.settings.device != "cpu":
            torch.cuda.empty_cache()
        self._require_another_plan()
        failed = self.plans.pop(0)
        self.plans[0].take(self.model)
        self.say(
            f"The device ran out of memory with {failed}; it goes on with {self.plans[0]}. "
            "Nothing of what was learnt is lost."
        )

    def _require_another_plan(self) -> None:
        if len(self.plans) == 1:
            raise LabkitError(
                f"The device has too little memory, even with {self.plans[0]}. Ask for a larger "
                "one, tune a smaller model, or lower max_tokens. What was saved before is good."
            )

    def _longest_first(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """So that workers, who take turns, have nearly the same to do."""
        return np.array(sorted(batch, key=lambda n: -self.examples[n].num_tokens), dtype=np.int64)

    def _passes(self, batch: NDArray[np.int64]) -> list[tuple[list[int], float]]:
        """The rows that this worker computes, and the weight of their losses in the batch's.

        With the model shared out all compute equally many: who has fewer, one of no weight.
        """
        longest_first = self._longest_first(batch)
        weight = 1 / sum(self.examples[n].num_learnt for n in batch)
        passes = [(row, weight) for row in self._rows(self.workers.share(longest_first))]
        if not is_sharded(self.model):
            return passes
        most = max(len(self._rows(each)) for each in self.workers.shares(longest_first))
        shortest = [int(longest_first[-1])]
        return passes + [(shortest, 0.0)] * (most - len(passes))

    def _rows(self, chosen: NDArray[np.int64]) -> list[list[int]]:
        lengths = [self.examples[n].num_tokens for n in chosen]
        packed = best_fit(lengths, self.plans[0].row_tokens)
        return [[int(chosen[n]) for n in row] for row in packed]

    def _no_number(self, batch: NDArray[np.int64]) -> str:
        """The batch's rows whose loss is no number; all of them where each by itself has one."""
        seen = [self.examples[n] for n in batch]
        alone = replace(self.settings, row_tokens=1)
        finite_N = np.isfinite(measure(self.model, seen, alone)[:, 0])
        rows = {one.row for one, fine in zip(seen, finite_N, strict=True) if not fine}
        return listed_rows(sorted(rows or {one.row for one in seen}))


@torch.no_grad()  # not inference_mode: what is gathered here may be trained with later
def measure(
    model: Any, examples: Sequence[Seen], settings: LossSettings, workers: Workers = ALONE
) -> NDArray[np.float32]:
    """Of each example the sum of its losses in nats, its tokens to learn, and how many of them
    the model finds the likeliest; shape (N, 3).

    Each of the workers has examples of its own, and all make equally many passes.
    """
    model.eval()
    out_N3 = np.zeros((len(examples), 3), dtype=np.float32)
    rows = best_fit([seen.num_tokens for seen in examples], settings.row_tokens)
    num_passes = max(workers.everyone(len(rows)))
    with attending_by(model, packed_attention.register()):
        for chosen in islice(cycle(rows), num_passes):
            row = lay_out([examples[n] for n in chosen]).to(settings.device)

            def figures(row: Row = row) -> tuple[Tensor, Tensor]:
                states_PD = states_of(model, row).to(settings.dtype)
                return token_losses(states_PD, model.get_output_embeddings(), row.targets_P)

            with autocast(settings.device, settings.dtype):
                losses_P, hits_P = whole(model, figures)
            figures_P3 = torch.stack([losses_P, torch.ones_like(losses_P), hits_P.float()], dim=1)
            sums_N3 = torch.zeros((len(chosen), 3), device=settings.device)
            out_N3[chosen] = sums_N3.index_add_(0, row.example_P, figures_P3).cpu().numpy()
    return out_N3
