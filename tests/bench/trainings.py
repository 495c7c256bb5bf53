"""Our loop and transformers' Trainer called alike: no validation, no checkpoints, no words."""

from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit.train.checkpoint import Checkpoints
from labkit.train.loop import Hooks, LoopSettings, Objective, fit


def fit_alone(model: nn.Module, objective: Objective, settings: LoopSettings) -> None:
    """`fit` without what the peers are not asked for; the last weights stay, as with them."""
    always_better = count(0, -1)
    fit(
        model,
        objective,
        settings,
        checkpoints=_NoCheckpoints(Path()),
        resume_from=None,
        hooks=Hooks(
            report=_silent,
            should_stop=lambda: False,
            validate=lambda: (float(next(always_better)), 0.0),
        ),
    )


def trainer_arguments(settings: LoopSettings, folder: str, **options: Any) -> dict[str, Any]:
    """Our settings as keywords of transformers' TrainingArguments; `options` go before them."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": settings.batch_size,
        "num_train_epochs": settings.num_epochs,
        "learning_rate": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "warmup_steps": settings.warmup_share,
        "max_grad_norm": settings.max_gradient_norm,
        "bf16": settings.dtype == torch.bfloat16,
        "seed": settings.seed,
        "use_cpu": settings.device == "cpu",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        **options,
    }


class _NoCheckpoints(Checkpoints):
    def save(self, step: int, tensors: object, state: object) -> Path:
        return self.folder


def _silent(**_: Any) -> None:
    pass
