"""What tuning an encoder would take, by arithmetic from its size and the person's rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labkit.models.catalogue import BaseEntry
from labkit.recipes._memory import KEEPING_BYTES, LEARNING_BYTES, START_BYTES
from labkit.recipes.base import DeviceKind, Estimate, Machine, Task

if TYPE_CHECKING:
    from labkit.recipes.text_classification import Chosen, Config

_START_S = 15
_SHARE_OF_PEAK = 0.45


def estimate(
    task: Task, summary: Mapping[str, Any], machine: Machine, chosen: "Chosen"
) -> Estimate:
    config: Config = task.config
    base, rows = task.base, summary["rows"]
    # About 4 bytes of UTF-8 a token: English words and Chinese characters alike.
    tokens_per_row = min(config.max_tokens, summary["mean_bytes"] / 4 + 2)
    block_parameters = 12 * base.num_layers * base.hidden_size**2
    forward = 2 * block_parameters * tokens_per_row
    passes = {"full": 3, "lora": 2, "head": 0}[config.method] * chosen.epochs
    once = rows["train"] + (1 + chosen.epochs) * rows["validation"] + 2 * rows["held_out"]
    flop = forward * (rows["train"] * passes + once)
    # Rows of like length go together, and the longest may have some four times the mean.
    longest = min(config.max_tokens, 4 * tokens_per_row)
    return Estimate(
        memory_bytes=_in_a_process(base, config, machine, chosen.batch_size, longest),
        disk_bytes=4 * base.num_parameters + 2 * 16 * _num_trained(base, config),
        duration_s=_START_S + flop / (_SHARE_OF_PEAK * machine.flops),
        basis=f"{flop / 1e12:.1f} TFLOP at {100 * _SHARE_OF_PEAK:.0f} % of "
        f"{machine.flops / 1e9:.0f} GFLOP/s, and {_START_S} s to start",
    )


def usual_memory(base: BaseEntry, config: "Config", kind: DeviceKind, batch_size: int) -> int:
    """Bytes on one device with batches of texts of `max_tokens`."""
    tokens = min(config.max_tokens, base.max_tokens)
    taken = _in_a_process if kind.torch_device == "cpu" else _on_a_device
    return taken(base, config, kind, batch_size, tokens)


def _in_a_process(
    base: BaseEntry, config: "Config", kind: DeviceKind, batch_size: int, tokens: float
) -> int:
    """Bytes where device and process share them, which bounds those of a process beside a GPU."""
    on_device = _on_a_device(base, config, kind, batch_size, tokens)
    return on_device + KEEPING_BYTES * _num_trained(base, config)


def _on_a_device(
    base: BaseEntry, config: "Config", kind: DeviceKind, batch_size: int, tokens: float
) -> int:
    """Bytes of weights, of those that are trained gradients and two moments, all in float32, and of
    what a batch of rows of so many tokens keeps for the backward pass.

    A block keeps so many numbers of each token for each of its width, a part of them for each
    token that it attends to: counted by `labkit.train.peak` on BERT's with heads 32 wide. Half of
    them stay in float32 whatever is computed with, as those of norms.
    """
    trained = _num_trained(base, config)
    weights = 4 * (base.num_parameters + (0 if config.method == "full" else trained))
    kept = (19 + 0.1 * tokens) * batch_size * tokens * base.hidden_size * base.num_layers
    kept_bytes = round(kept * (4 + kind.number_bytes) / 2)
    return START_BYTES + weights + LEARNING_BYTES * trained + kept_bytes


def _num_trained(base: BaseEntry, config: "Config") -> int:
    return base.num_parameters if config.method == "full" else base.num_parameters // 20
