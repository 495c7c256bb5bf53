"""How a step is done in the memory there is: tokens at a time, and which blocks compute twice.

Plans form a ladder from the fastest to the leanest. What one takes is counted, not guessed: two
short rows go through the model itself, and what a block keeps grows with a row's tokens in a
straight line.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labkit.train import packed_attention
from labkit.train.chat import Seen
from labkit.train.decoder import attending_by, states_of
from labkit.train.encoder import autocast
from labkit.train.packing import lay_out
from labkit.train.peak import kept_and_peak
from labkit.train.sharding import Sharding, gathered_bytes, is_sharded, own_part, whole
from labkit.train.token_loss import loss_sum, tokens_at_once
from labkit.train.workers import ALONE, Workers
from labkit.units import format_memory

ENOUGH_TOKENS = 2048
"""A row of so many keeps a device busy: with less at a time it would stand idle in between."""
SPARE = 0.1
"""Share of the free memory that is left alone: what an allocator cannot use, and the error."""
WHOLE_UP_TO = 0.6
"""Share of a worker's free memory that a model may take there with all that trains it; the rest is
for rows."""
_RECOMPUTES = {4: "every fourth block", 2: "every second block", 1: "each block"}
"""Of so many blocks one is computed twice, from the fastest to the leanest; and in words."""
_SHORT, _LONG = 64, 192
_ADAM_BYTES = 8
"""AdamW's two moments of each trained weight, in float32."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a row goes through the model."""

    row_tokens: int
    """Tokens at a time; a longer example goes alone."""
    recompute_every: int = 0
    """Of so many blocks one keeps only what goes into it, and computes the rest again in the
    backward pass; 0 for none."""

    def __str__(self) -> str:
        which = _RECOMPUTES.get(self.recompute_every)
        twice = f", {which} computed twice" if which else ""
        return f"{self.row_tokens:,} tokens at a time{twice}"

    def take(self, model: Any) -> None:
        """Have a causal language model of transformers train so."""
        if self.recompute_every:
            options = {"use_reentrant": False}
            model.activation_checkpointing_enable(options, every_n_layers=self.recompute_every)
        else:
            model.activation_checkpointing_disable()


def ladder(row_tokens: int, longest: int) -> list[Plan]:
    """All plans from the fastest down, for examples of up to `longest` tokens."""
    plans = [Plan(row_tokens=row_tokens)]
    while (half := plans[-1].row_tokens // 2) >= max(longest, ENOUGH_TOKENS):
        plans.append(Plan(row_tokens=half))
    least = plans[-1].row_tokens
    plans += [Plan(row_tokens=least, recompute_every=every) for every in _RECOMPUTES]
    while plans[-1].row_tokens > longest:
        half = max(longest, plans[-1].row_tokens // 2)
        plans.append(Plan(row_tokens=half, recompute_every=1))
    return plans


class Needs:
    """What training takes beside the model itself, on its device."""

    def __init__(self, model: Any, longest: int, dtype: torch.dtype, workers: Workers = ALONE):
        """A causal language model on its device, as the workers will train it on examples of up to
        `longest` tokens, computed in `dtype`."""
        self.model, self.longest, self.dtype, self.workers = model, longest, dtype, workers
        self._device = next(model.parameters()).device
        self._lines: dict[int, _Lines] = {}
        self._heads: dict[int, int] = {}

    def of(self, plan: Plan) -> int:
        """Bytes at the peak: gradients, moments, what a row keeps, and the loss.

        All workers ask together, and are told of the one that needs the most.
        """
        tokens = max(plan.row_tokens, self.longest)
        if plan.recompute_every not in self._lines:
            self._lines[plan.recompute_every] = self._through_blocks(plan)
        lines = self._lines[plan.recompute_every]
        last = max(self._loss(tokens) + lines.kept(tokens), lines.peak(tokens))
        held = gradient_and_moment_bytes(self.model) + self._gathered()
        needed = held + round(max(last, self._embedding_gradient()))
        return max(self.workers.everyone(needed))

    def _through_blocks(self, plan: Plan) -> "_Lines":
        plan.take(self.model)
        self.model.train()
        self._through(_SHORT)  # it may make what all later ones use again
        (short_kept, short_peak), (long_kept, long_peak) = (
            self._through(tokens) for tokens in (_SHORT, _LONG)
        )
        return _Lines(kept=_line(short_kept, long_kept), peak=_line(short_peak, long_peak))

    def _through(self, tokens: int) -> tuple[int, int]:
        row = lay_out([_example(tokens)]).to(str(self._device))

        def forward() -> Tensor:
            with autocast(self._device.type, self.dtype):
                states_PD = whole(self.model, lambda: states_of(self.model, row))
                return states_PD.to(self.dtype).sum()

        attending = attending_by(self.model, packed_attention.register())
        # The embeddings' gradient comes last, when nothing else is kept any more.
        with attending, _frozen(self.model.get_input_embeddings()):
            return kept_and_peak(self.model, forward)

    def _loss(self, tokens: int) -> int:
        """Of the loss of a row all of whose tokens are learnt."""
        head: nn.Linear = self.model.get_output_embeddings()
        # States and their gradients are of all tokens, but logits only of some at a time.
        made, width = min(tokens, 2 * tokens_at_once(head)), head.weight.shape[1]
        if made not in self._heads:
            self._heads[made] = self._loss_of(head, made)
        return self._heads[made] + 2 * (tokens - made) * width * self.dtype.itemsize

    def _loss_of(self, head: nn.Linear, tokens: int) -> int:
        shape = tokens, head.weight.shape[1]
        states_PD = torch.zeros(shape, device=self._device, dtype=self.dtype, requires_grad=True)
        targets_P = torch.zeros(tokens, device=self._device, dtype=torch.int64)

        def forward() -> Tensor:
            with autocast(self._device.type, self.dtype):
                return whole(self.model, lambda: loss_sum(states_PD, head, targets_P))

        return kept_and_peak(head, forward)[1]

    def _gathered(self) -> int:
        """Of a model that is shared out, what is whole at a time and not counted with a row."""
        if not is_sharded(self.model):
            return 0
        head = self.model.get_output_embeddings().weight
        gradient = head.nbytes if head.requires_grad else 0  # it goes when all of the row is done
        if self._device.type != "cpu":
            return gradient
        # What is made where such a tensor was before is not seen there.
        return gradient + gathered_bytes(self.model, self.dtype)

    def _embedding_gradient(self) -> int:
        weight = self.model.get_input_embeddings().weight
        copies = 2 if is_sharded(self.model) else 1  # what is sent is one
        return copies * weight.nbytes if weight.requires_grad else 0


def gradient_and_moment_bytes(model: nn.Module) -> int:
    """Of what this worker trains of a model, in the optimizer's step."""
    trained = [own_part(p) for p in model.parameters() if p.requires_grad]
    return sum(p.numel() * (p.element_size() + _ADAM_BYTES) for p in trained)


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """Bytes that a row takes on its way through the blocks, by its tokens."""

    kept: Callable[[int], float]
    """After the forward pass."""
    peak: Callable[[int], float]
    """At the most, in the backward pass."""


def _line(short: int, long: int) -> Callable[[int], float]:
    per_token = (long - short) / (_LONG - _SHORT)
    return lambda tokens: short + per_token * (tokens - _SHORT)


def first_that_fits(plans: Sequence[Plan], needs: Needs, room_bytes: int) -> tuple[int, str]:
    """Which plan to begin with, the leanest where none fits; and a sentence if not the first."""
    room = round(room_bytes * (1 - SPARE))
    free = f"{format_memory(room)} are free"
    number = next((n for n, plan in enumerate(plans) if needs.of(plan) <= room), None)
    if number is None:
        return len(plans) - 1, (
            f"The leanest way to train it takes about {format_memory(needs.of(plans[-1]))}, and "
            f"{free}: it is tried, and may not fit. A smaller model, a smaller max_tokens or a "
            "larger device would."
        )
    if number == 0:
        return 0, ""
    return number, (
        f"{plans[0]} would take {format_memory(needs.of(plans[0]))}, and {free}: so it is "
        f"{plans[number]}, in {format_memory(needs.of(plans[number]))}. What is learnt is the same."
    )


def _example(tokens: int) -> Seen:
    return Seen(
        row=0, text="", learnt_spans=[], cut_at=0, max_tokens=tokens,
        ids_T=np.zeros(tokens, dtype=np.int32), learnt_T=np.ones(tokens, dtype=np.bool_),
    )  # fmt: skip


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad = True


def why_shard(sharding: Sharding, model: nn.Module, num_workers: int, room_bytes: int) -> str:
    """Why so many workers are to share out a model that is still whole; empty where they are not.

    `room_bytes` is what is free on the device of each before the model comes there.
    """
    if num_workers == 1 or sharding == "never":
        return ""
    taken = sum(p.nbytes for p in model.parameters()) + gradient_and_moment_bytes(model)
    shared = (
        f"the {num_workers} workers share them out, {format_memory(taken // num_workers)} each. "
        "What is learnt is the same."
    )
    what = f"Weights, gradients and moments take {format_memory(taken)}"
    if sharding == "always":
        return f"{what}: as the settings say, {shared}"
    if taken <= WHOLE_UP_TO * room_bytes:
        return ""
    return f"{what}, and {format_memory(room_bytes)} are free on a worker: {shared}"
