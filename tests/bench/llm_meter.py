"""What all sides of the bench of language models train alike, and the meter that all pass."""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from labkit.train.arithmetic import flop_per_epoch
from labkit.train.chat import Seen
from labkit.train.decoder import ALL_LINEAR, Method, add_adapters
from labkit.train.language_loss import LanguageLoss, LossSettings, measure
from labkit.train.loop import LoopSettings
from labkit.train.plan import Needs, Plan

LORA_RANK = 16


@dataclass(frozen=True, kw_only=True)
class Job:
    build: Callable[[], Any]
    """A causal language model on its device, with the same weights each time."""
    method: Method
    examples: Sequence[Seen]
    held_out: Sequence[Seen]
    """On these the loss is measured, before and after."""
    max_tokens: int
    row_tokens: int
    loop: LoopSettings
    num_warm_up: int = 0
    """The first passes through the decoder, whose time is not counted."""

    @property
    def loss(self) -> LossSettings:
        return LossSettings.of(self.loop, self.row_tokens)

    @property
    def lengths(self) -> Sequence[int]:
        """The tokens of each example, without what is cut off."""
        return [seen.num_tokens for seen in self.examples]

    @property
    def num_tokens(self) -> int:
        """Of the one epoch, without padding."""
        return sum(self.lengths)

    @property
    def num_steps(self) -> int:
        return -(-len(self.examples) // self.loop.batch_size)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    tokens_per_second: float
    """Tokens of the examples; padding counts as no work."""
    tokens_per_core_second: float
    """By the processor time of all threads: where others want the cores, too, a fairer clock."""
    padding: float
    """Tokens that went through the decoder for each token of the examples."""
    first_loss: float
    """On the held-out examples before training, in nats a token."""
    loss: float
    """The same after it."""
    flop_per_token: float
    peak_bytes: int
    """Of the device's memory, at the most; 0 on a processor."""
    planned_bytes: int
    """What labkit's plan for it says; 0 on a processor."""


Train = Callable[[Job, Any], None]
"""One side: trains the model, which peft has wrapped where the method is LoRA."""


def outcome_of(job: Job, train: Train) -> Outcome:
    """Let one side train a new model of the job."""
    _free_memory()
    torch.manual_seed(job.loop.seed)
    causal = job.build()
    model = add_adapters(causal, LORA_RANK, ALL_LINEAR) if job.method == "lora" else causal
    first_loss = _loss(job, causal)
    planned_bytes = _planned(job, causal)
    causal.train()
    with Meter(job, causal.get_decoder()) as meter:
        train(job, model)
    outcome = Outcome(
        tokens_per_second=meter.tokens / meter.wall_s / meter.padding,
        tokens_per_core_second=meter.tokens / meter.processor_s / meter.padding,
        padding=meter.padding,
        first_loss=first_loss,
        loss=_loss(job, causal),
        flop_per_token=flop_per_epoch(causal, job.examples) / job.num_tokens,
        peak_bytes=meter.peak_bytes,
        planned_bytes=planned_bytes,
    )
    _require_gradients(job, causal)
    return outcome


def causal_model(job: Job, model: Any) -> Any:
    """The model of transformers itself, in which adapters stand as layers."""
    return model.get_base_model() if job.method == "lora" else model


class Meter:
    """Counts the tokens that go through a decoder, and the time from its first counted pass on."""

    def __init__(self, job: Job, decoder: nn.Module):
        self.job, self.decoder = job, decoder
        self.passes: list[int] = []
        """The tokens of each, with padding."""
        self.wall_s = self.processor_s = 0.0
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        if self._on_cuda:
            torch.cuda.reset_peak_memory_stats()
        self.hook = self.decoder.register_forward_pre_hook(self._count, with_kwargs=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.hook.remove()
        if error is not None:
            return
        self.wall_s, self.processor_s = (
            now - then for now, then in zip(self._clocks(), self.started, strict=True)
        )
        self.peak_bytes = torch.cuda.max_memory_allocated() if self._on_cuda else 0

    @property
    def tokens(self) -> int:
        """Those whose time is counted, with padding."""
        return sum(self.passes[self.job.num_warm_up :])

    @property
    def padding(self) -> float:
        return sum(self.passes) / self.job.num_tokens

    @property
    def _on_cuda(self) -> bool:
        return self.job.loop.device == "cuda"

    def _count(self, _: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        if len(self.passes) == self.job.num_warm_up:
            self.started = self._clocks()
        self.passes.append(named["input_ids"].numel())

    def _clocks(self) -> tuple[float, float]:
        if self._on_cuda:
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()


def _free_memory() -> None:
    """What the side before has left: trainers and models know each other in circles."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _planned(job: Job, causal: Any) -> int:
    """Of the model and of training it, by the plan for rows of the job's length."""
    if job.loop.device != "cuda":
        return 0
    held = torch.cuda.memory_allocated()
    needs = Needs(causal, max(job.lengths), job.loop.dtype)
    return held + needs.of(Plan(row_tokens=job.row_tokens))


def _loss(job: Job, causal: Any) -> float:
    losses, tokens, _ = measure(causal, job.held_out, job.loss).sum(axis=0)
    return float(losses / tokens)


def _require_gradients(job: Job, causal: Any) -> None:
    """Every tuned weight is reached. LoRA's first halves are so only once the second have moved."""
    causal.zero_grad()
    LanguageLoss(causal, job.held_out, job.loss).backward(np.arange(len(job.held_out)))
    dead = [
        name for name, p in causal.named_parameters() if p.grad is not None and not p.grad.any()
    ]
    assert not dead, f"no gradient reaches {dead[0]} and {len(dead) - 1} others"
