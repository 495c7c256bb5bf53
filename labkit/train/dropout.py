"""Dropout at a fraction of its price on a processor.

PyTorch draws a random number for each state, one after another on one core: a tenth of a
training step on short rows. Here each takes a random byte, and eight come from one number.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BYTES = 256


class ByteDropout(nn.Dropout):
    """Dropout whose share is a multiple of 1/256; 0.1 becomes 26/256.

    It follows `torch.manual_seed` and is exact again after a checkpoint, as PyTorch's is.
    """

    def forward(self, input: Tensor) -> Tensor:
        threshold = round(self.p * _BYTES)
        if not self.training or not threshold:
            return input
        if input.device.type != "cpu" or threshold == _BYTES:
            return F.dropout(input, self.p)
        return input * self._kept(input, threshold)

    def _kept(self, states: Tensor, threshold: int) -> Tensor:
        """0 where a state is dropped, else what the others are scaled up by."""
        count = states.numel()
        numbers = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None)
        bytes_ = numbers.view(torch.uint8)[:count].view(states.shape)
        return (bytes_ >= threshold).to(states.dtype).mul_(_BYTES / (_BYTES - threshold))


def use_byte_dropout(model: nn.Module) -> None:
    """Put it in the place of every nn.Dropout, with the same share."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, ByteDropout(child.p))
