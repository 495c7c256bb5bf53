"""The training loop: early stopping, checkpoints, and a stop that saves.

It knows a model and an objective, and nothing of recipes, runs or Ray: plain torch.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from labkit.errors import LabkitError
from labkit.train.checkpoint import (
    Checkpoints,
    DiskFull,
    load_checkpoint,
    on_processor,
    restore_training,
    training_tensors,
)
from labkit.train.memory import keep_freed_memory
from labkit.train.workers import ALONE, Workers

REPORT_EVERY_S = 0.5
CHECKPOINT_EVERY_S = 60.0


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    num_epochs: int
    batch_size: int
    learning_rate: float
    head_learning_rate: float
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    """Share of all steps over which the learning rate rises from 0; then it falls to 0."""
    label_smoothing: float = 0.0
    max_gradient_norm: float = 1.0
    patience: int = 2
    """Epochs without a better validation loss before it ends."""
    seed: int = 0
    device: str = "cpu"
    dtype: torch.dtype = torch.float32


class Objective(Protocol):
    """What is learnt: an epoch's batches, and the loss that each step makes smaller."""

    unit: str
    """What is counted where its speed is told: 'rows' or 'tokens'."""

    def batches(self, seed: tuple[int, ...]) -> Sequence[Any]:
        """All batches of an epoch, in its order; each is the same whatever the workers."""
        ...

    def size(self, batch: Any) -> int:
        """How many of its unit are in the batch."""
        ...

    def backward(self, batch: Any) -> Tensor:
        """Leave the whole batch's gradients in the weights, which have none before.

        Returns a loss to tell, shape ().
        """
        ...


@dataclass(frozen=True, kw_only=True)
class AnyTuning:
    """What every tuning is told, whatever it tunes."""

    base: Path
    recipe: str
    max_tokens: int
    lora_rank: int
    loop: LoopSettings
    folder: Path
    """Where checkpoints and all that is left go."""
    resume_from: Path | None
    report: Callable[..., None]
    should_stop: Callable[[], bool]
    workers: Workers = ALONE
    """Those that tune it together; each of them calls `tune`."""

    def fit(
        self, model: nn.Module, objective: Objective, validate: Callable[[], tuple[float, float]]
    ) -> bool:
        """As `fit`, with what this tuning is told."""
        return fit(
            model,
            objective,
            self.loop,
            checkpoints=Checkpoints(self.folder / "checkpoints"),
            resume_from=self.resume_from,
            hooks=Hooks(report=self.report, should_stop=self.should_stop, validate=validate),
            workers=self.workers,
        )


@dataclass
class Progress:
    """Where the loop is; what a checkpoint keeps besides tensors."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    """Batches of this epoch that are done."""
    best_loss: float = math.inf
    best_accuracy: float = 0.0
    best_epoch: int = -1


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """How the loop speaks with who started it."""

    report: Callable[..., None]
    should_stop: Callable[[], bool]
    validate: Callable[[], tuple[float, float]]
    """Loss and accuracy on the validation part."""


def fit(
    model: nn.Module,
    objective: Objective,
    settings: LoopSettings,
    *,
    checkpoints: Checkpoints,
    resume_from: Path | None,
    hooks: Hooks,
    workers: Workers = ALONE,
) -> bool:
    """Train `model` in place and leave it with the weights that validated best.

    Each of the workers calls it with the same; they go through it together.

    Returns False where it was asked to stop: then the newest checkpoint holds everything.
    """
    if settings.device == "cpu":
        keep_freed_memory()
    fit_ = _Fit(model, objective, settings, checkpoints, hooks, workers)
    return fit_.run(resume_from)


class _Fit:
    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        settings: LoopSettings,
        checkpoints: Checkpoints,
        hooks: Hooks,
        workers: Workers,
    ):
        self.workers = workers
        self.model, self.objective, self.settings, self.hooks = model, objective, settings, hooks
        self.checkpoints = checkpoints
        self.optimizer = _optimizer(model, settings)
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        sizes = [objective.size(batch) for batch in objective.batches((settings.seed, 0))]
        self.steps_per_epoch, self.mean_size = len(sizes), sum(sizes) / len(sizes)
        self.num_steps = self.steps_per_epoch * settings.num_epochs
        self.last_report = self.last_checkpoint = time.monotonic()
        self.done_since_report = 0
        self.rate = 0.0
        self.gradient_norm: Tensor | float = 0.0
        """Of the last step. Left on the device until it matters."""

    def run(self, resume_from: Path | None) -> bool:
        # Each worker drops states of its own.
        torch.manual_seed(self.settings.seed + self.workers.rank)
        if resume_from:
            tensors, state = load_checkpoint(resume_from)
            self.progress = Progress(**state)
            self.best = restore_training(tensors, self.model, self.optimizer)
            step = self.progress.step
            if not self.workers.is_first:  # whose random state the checkpoint has
                torch.manual_seed(self.settings.seed + 100_003 * step + self.workers.rank)
        while self.progress.epoch < self.settings.num_epochs:
            if not self._epoch():
                self._checkpoint()
                return False
            if self.progress.epoch - self.progress.best_epoch > self.settings.patience:
                break
        self._restore_best()
        return True

    def _epoch(self) -> bool:
        """The rest of this epoch, then validation. Returns False where it was asked to stop."""
        self.model.train()
        batches = self.objective.batches((self.settings.seed, self.progress.epoch))
        for batch in batches[self.progress.batch :]:
            if self.workers.agree(self.hooks.should_stop()):
                return False
            loss = self._step(batch)
            self.progress.batch += 1
            self._report(self.objective.size(batch), loss)
            if time.monotonic() - self.last_checkpoint > CHECKPOINT_EVERY_S:
                self._checkpoint()
        self._validate()
        self.progress.epoch += 1
        self.progress.batch = 0
        self._checkpoint()
        return True

    def _step(self, batch: Any) -> Tensor:
        loss = self.objective.backward(batch)
        self.gradient_norm = nn.utils.clip_grad_norm_(self.trained, self.settings.max_gradient_norm)
        rate_factor = self._rate_factor()
        for group in self.optimizer.param_groups:
            group["lr"] = group["full_lr"] * rate_factor
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        return loss.detach()

    def _rate_factor(self) -> float:
        """Linear warm-up to 1, then linear to 0."""
        warmup = max(1, round(self.settings.warmup_share * self.num_steps))
        step = self.progress.step
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (self.num_steps - step) / max(1, self.num_steps - warmup))

    def _validate(self) -> None:
        loss, accuracy = self.hooks.validate()
        _require_finite(loss)
        self.model.train()
        if loss < self.progress.best_loss:
            self.progress.best_loss, self.progress.best_accuracy = loss, accuracy
            self.progress.best_epoch = self.progress.epoch
            self.best = {
                name: on_processor(parameter.detach())
                for name, parameter in self.model.named_parameters()
                if parameter.requires_grad
            }
        self.hooks.report(
            step=self.progress.step, validation_loss=loss, validation_accuracy=accuracy
        )
        self.last_report, self.done_since_report = time.monotonic(), 0

    def _report(self, size: int, loss: Tensor) -> None:
        self.done_since_report += size
        now = time.monotonic()
        elapsed = now - self.last_report
        if elapsed < REPORT_EVERY_S and self.progress.step > 1:
            return
        _require_finite(float(loss))
        rate = self.done_since_report / elapsed
        self.rate = rate if not self.rate else 0.8 * self.rate + 0.2 * rate
        self.last_report, self.done_since_report = now, 0
        steps_left = self.num_steps - self.progress.step
        self.hooks.report(
            step=self.progress.step,
            num_steps=self.num_steps,
            epoch=round(self.progress.step / self.steps_per_epoch, 3),
            loss=round(float(loss), 5),
            seconds_left=round(steps_left * self.mean_size / self.rate, 1),
            **{f"{self.objective.unit}_per_second": round(self.rate, 1)},
        )

    def _checkpoint(self) -> None:
        _require_finite(float(self.gradient_norm))  # else it would replace the last good one
        self.last_checkpoint = time.monotonic()
        tensors = training_tensors(self.model, self.optimizer, self.best)
        if not self.workers.is_first:
            return
        try:
            self.checkpoints.save(self.progress.step, tensors, asdict(self.progress))
        except DiskFull as error:
            # Training goes on with the older checkpoint; the person is told.
            self.hooks.report(message=str(error))

    def _restore_best(self) -> None:
        parameters: dict[str, Any] = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, tensor in self.best.items():
                parameters[name].copy_(tensor)


def _require_finite(loss: float) -> None:
    if not math.isfinite(loss):
        raise LabkitError("Training came apart: the loss is no number. Lower learning_rate.")


def _optimizer(model: nn.Module, settings: LoopSettings) -> torch.optim.AdamW:
    """Fused AdamW; biases and norms do not decay, the head has its own learning rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_head = name.startswith("head.") or "." not in name
            rate = settings.head_learning_rate if is_head else settings.learning_rate
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "full_lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        fused=True,
    )
