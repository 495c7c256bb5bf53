"""How much arithmetic a training needs at least, and how much a device does in a second."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from labkit.train.chat import Seen
from labkit.train.precision import matmul_flops

FORMULA = (
    "Arithmetic of a token: for each weight of a linear layer 2 forward, 2 for the gradient of "
    "what comes in, 2 more where it is tuned, the output layer's for tokens to learn alone; for "
    "attention 6 × layers × width × length of its example. No work: padding, what is computed "
    "anew, embeddings."
)
_LARGE = (8192, 8192, 8192)
"""A product that fills a data centre's GPU; 1.1 TFLOP."""


def flop_per_epoch(causal: Any, examples: Sequence[Seen]) -> float:
    """Multiplications and additions to learn all examples once; `FORMULA` in code.

    6 a weight and token: Kaplan et al. 2020, section 2.1. Attention: an example of T tokens has
    T² / 2 pairs, each two products forward and four backward of the width of all heads.
    """
    lengths = [len(seen.ids_T) - seen.num_cut for seen in examples]
    num_tokens, num_learnt = sum(lengths), sum(seen.num_learnt for seen in examples)
    head = causal.get_output_embeddings()
    linear = sum(
        (6 if module.weight.requires_grad else 4)
        * module.weight.numel()
        * (num_learnt if module is head else num_tokens)
        for module in causal.modules()
        if isinstance(module, nn.Linear)
    )
    return linear + attention_flop(causal.config, lengths)


def attention_flop(config: Any, lengths: Sequence[int]) -> float:
    """Of all layers, forward and backward."""
    head_size = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    width = config.num_attention_heads * head_size
    return 6 * config.num_hidden_layers * width * sum(length**2 for length in lengths)


def peak_flops(device: str, dtype: torch.dtype) -> float:
    """What the device's matrix products reach."""
    return matmul_flops(device, dtype, shape=_LARGE) if device == "cuda" else (
        matmul_flops(device, dtype)
    )  # fmt: skip
