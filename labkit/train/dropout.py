"""Dropout at a fraction of its price on a processor.

PyTorch draws a random number for each state, one after another on one core: a tenth of a
training step on short rows. Here each takes a random byte, and eight come from one number.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_BYTES = 256


def use_byte_dropout(model: nn.Module) -> None:
    """Dropout of a model on a processor takes bytes, whatever calls it; elsewhere nothing changes.

    Attention calls dropout as a function, on its weights, so that no module can be put in its
    place. The call itself is caught instead, whatever the encoder (0.7 ms a step of six layers).
    """
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        return
    forward: Callable[..., Tensor] = model.forward

    def forward_with_bytes(*args: Any, **kwargs: Any) -> Tensor:
        with _ByteDropout():
            return forward(*args, **kwargs)

    model.forward = forward_with_bytes


def byte_dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """What F.dropout does, with a share that is a multiple of 1/256; 0.1 becomes 26/256.

    It follows `torch.manual_seed` and is exact again after a checkpoint, as PyTorch's is.
    """
    threshold = round(p * _BYTES)
    if inplace or threshold == _BYTES:
        return F.dropout(input, p, training, inplace)
    return input * _kept(input, threshold) if training and threshold else input


def _kept(states: Tensor, threshold: int) -> Tensor:
    """0 where a state is dropped, else what the others are scaled up by."""
    count = states.numel()
    numbers = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None)
    bytes_ = numbers.view(torch.uint8)[:count].view(states.shape)
    # Into numbers, not truth values: those are slow to make and slow to convert (0.23 ms for
    # 400,000 states, against 0.05).
    kept = torch.ge(bytes_, threshold, out=torch.empty(states.shape, dtype=states.dtype))
    return kept.mul_(_BYTES / (_BYTES - threshold))


class _ByteDropout(TorchFunctionMode):
    """While it is entered, F.dropout (which nn.Dropout calls, too) is byte_dropout."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (byte_dropout if func is F.dropout else func)(*args, **(kwargs or {}))
