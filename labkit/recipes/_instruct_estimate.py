"""What tuning a language model would take, by arithmetic from its size and the person's rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labkit.models.catalogue import BaseEntry, num_embedding_weights
from labkit.recipes.base import Estimate, Machine, Task
from labkit.train.four_bits import BYTES_A_WEIGHT

if TYPE_CHECKING:
    from labkit.recipes.instruct import Config

_START_S = 20
_SHARE_OF_PEAK = 0.35


def estimate(
    task: Task, summary: Mapping[str, Any], machine: Machine, num_answered: int
) -> Estimate:
    """`num_answered` are the tokens of answers that base and tuned model write on the way."""
    config: Config = task.config
    base, rows = task.base, summary["rows"]
    # About 4 bytes of UTF-8 a token, and some that the template writes.
    tokens_per_row = min(config.max_tokens, summary["mean_bytes"] / 4 + 20)
    forward = 2 * base.num_parameters  # operations a token
    passes = (3 if config.method == "full" else 2) * config.epochs
    once = config.epochs * rows["validation"] + 2 * rows["held_out"]
    flop = forward * (tokens_per_row * (rows["train"] * passes + once) + num_answered)
    lora = 0.02 * config.lora_rank / 16  # of all weights, on all linear layers
    trained = round(base.num_parameters * (1 if config.method == "full" else lora))
    row_tokens = max(config.max_tokens, min(config.row_tokens, config.batch_size * tokens_per_row))
    activations = 4 * row_tokens * base.hidden_size * base.num_layers * 34
    saved = base.num_parameters if config.method == "full" or config.merge else trained
    return Estimate(
        memory_bytes=2**30 + _weights(base, config) + 20 * trained + round(activations),
        disk_bytes=4 * saved + 2 * 16 * trained,
        duration_s=_START_S + flop / (_SHARE_OF_PEAK * machine.flops),
        basis=f"{flop / 1e12:.1f} TFLOP at {100 * _SHARE_OF_PEAK:.0f} % of "
        f"{machine.flops / 1e9:.0f} GFLOP/s, and {_START_S} s to start",
    )


def _weights(base: BaseEntry, config: "Config") -> int:
    """Bytes of the base model's weights: 4 each, where they are not in 4 bits.

    Those are unpacked layer by layer, which leaves holes in a processor's memory: at most what
    all of them would take, and at most 2 GiB, since glibc gives large blocks back.
    """
    whole = 4 * base.num_parameters
    if config.method != "qlora":
        return whole
    embedded = num_embedding_weights(base)
    packed = base.num_parameters - embedded
    held = 4 * embedded + round(BYTES_A_WEIGHT * packed) + min(4 * packed, 2**31)
    return held + (whole if config.merge else 0)  # which is added up beside it
