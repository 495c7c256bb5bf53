"""What tuning a language model would take, by arithmetic from its size and the person's rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from labkit.models.catalogue import BaseEntry, num_embedding_weights
from labkit.recipes._memory import KEEPING_BYTES, LEARNING_BYTES, START_BYTES
from labkit.recipes.base import DeviceKind, Estimate, Machine, Task
from labkit.train.four_bits import BYTES_A_WEIGHT

if TYPE_CHECKING:
    from labkit.recipes.instruct import Config

_START_S = 20
_SHARE_OF_PEAK = 0.35
_KEPT = 34
"""Numbers that a block keeps of each token for the backward pass, for each of its width. Counted
on Llama's blocks by `labkit.train.peak`: 27 with adapters, 33 with all weights."""


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
    row_tokens = max(config.max_tokens, min(config.row_tokens, config.batch_size * tokens_per_row))
    trained = _num_trained(base, config)
    saved = base.num_parameters if config.method == "full" or config.merge else trained
    return Estimate(
        memory_bytes=_in_a_process(base, config, machine, row_tokens),
        disk_bytes=4 * saved + 2 * 16 * trained,
        duration_s=_START_S + flop / (_SHARE_OF_PEAK * machine.flops),
        basis=f"{flop / 1e12:.1f} TFLOP at {100 * _SHARE_OF_PEAK:.0f} % of "
        f"{machine.flops / 1e9:.0f} GFLOP/s, and {_START_S} s to start",
    )


def least_memory(base: BaseEntry, config: "Config", kind: DeviceKind, num_devices: int) -> int:
    """Bytes on each device with rows of up to `max_tokens`, in the leanest way of training
    (`labkit.train.plan`); on a processor in the fastest, for which a job asks.
    """
    if kind.torch_device == "cpu":
        return _in_a_process(base, config, kind, config.row_tokens)
    tokens = min(config.max_tokens, base.max_tokens)
    # Each block is computed twice: it keeps what goes into it, and one of them all of it.
    kept = kind.number_bytes * tokens * base.hidden_size * (2 * base.num_layers + _KEPT)
    # Before that the base model is measured, in the format that it is stored in.
    measured = 0 if config.method == "qlora" else START_BYTES + base.weights_bytes
    held = _held(base, config, kind)
    if num_devices > 1 and config.method != "qlora":
        held = min(held, _held_of_a_share(base, config, kind, num_devices))
    return max(held + kept, measured)


def _in_a_process(base: BaseEntry, config: "Config", kind: DeviceKind, row_tokens: float) -> int:
    """Bytes where device and process share them, which bounds those of a process beside a GPU."""
    kept = kind.number_bytes * row_tokens * base.hidden_size * base.num_layers * _KEPT
    return _held(base, config, kind) + KEEPING_BYTES * _num_trained(base, config) + round(kept)


def _held(base: BaseEntry, config: "Config", kind: DeviceKind) -> int:
    """Bytes on the device from the first step on: weights, and of those that are trained, which
    are float32, the gradients and the two moments."""
    adapters = 0 if config.method == "full" else 4 * _num_trained(base, config)
    trained = adapters + LEARNING_BYTES * _num_trained(base, config)
    return START_BYTES + _weights(base, config, kind) + trained


def _held_of_a_share(base: BaseEntry, config: "Config", kind: DeviceKind, num_devices: int) -> int:
    """Bytes on each device of those that share out the model (`labkit.train.sharding`).

    Whole are two blocks, one that computes and the next; the vocabulary; and, where it is trained,
    its gradients and what is sent of them.
    """
    embedded = num_embedding_weights(base)
    blocks = 2 * kind.number_bytes * (base.num_parameters - embedded) // base.num_layers
    vocabulary = (3 * 4 if config.method == "full" else kind.number_bytes) * embedded
    own = (_held(base, config, kind) - START_BYTES) // num_devices
    return START_BYTES + own + blocks + vocabulary


def _num_trained(base: BaseEntry, config: "Config") -> int:
    """Adapters on all linear layers of Llama's blocks are as long as 20 times the width."""
    if config.method == "full":
        return base.num_parameters
    return 20 * config.lora_rank * base.hidden_size * base.num_layers


def _weights(base: BaseEntry, config: "Config", kind: DeviceKind) -> int:
    """Bytes of the base model's weights: float32 where they are trained, else the numbers that
    are computed with, where they are not in 4 bits.
    """
    if config.method == "full":
        return 4 * base.num_parameters
    whole = kind.number_bytes * base.num_parameters
    if config.method == "lora":
        return whole
    embedded = num_embedding_weights(base)
    packed = base.num_parameters - embedded
    unpacked = _unpacked(kind.number_bytes * packed, base, kind)
    held = kind.number_bytes * embedded + round(BYTES_A_WEIGHT * packed) + unpacked
    return held + (whole if config.merge else 0)  # which is added up beside it


def _unpacked(whole: int, base: BaseEntry, kind: DeviceKind) -> int:
    """Bytes of what 4 bits are unpacked to, layer by layer: within those of one block.

    That leaves holes in a processor's memory: at most what all of them would take, and at most
    2 GiB, since glibc gives large blocks back.
    """
    return min(whole, 2**31) if kind.torch_device == "cpu" else whole // base.num_layers
