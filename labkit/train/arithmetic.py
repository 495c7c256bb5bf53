"""How much arithmetic learning from examples needs at least, and how much a device does a second.

Of a token, for each weight of a linear layer 2 operations forward, 2 for the gradient of what
comes in, and 2 more where the weight is tuned (Kaplan et al. 2020, section 2.1); the output
layer's for tokens to learn alone. Attention: an example of T tokens has T² / 2 pairs, each with
two products forward and four backward of the width of all heads. Padding, embeddings and what is
computed again count for nothing.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from labkit.train.chat import Seen
from labkit.train.precision import matmul_flops

_OF_LARGE_DEVICE = (8192, 8192, 8192)
"""A product that fills a data centre's GPU; 1.1 TFLOP."""


def flop_per_epoch(causal: Any, examples: Sequence[Seen]) -> float:
    """Operations to learn from all examples once, by a causal language model."""
    lengths = [seen.num_tokens for seen in examples]
    num_learnt = sum(seen.num_learnt for seen in examples)
    head = causal.get_output_embeddings()
    linear = sum(
        (6 if module.weight.requires_grad else 4)
        * (module.in_features * module.out_features)  # not numel: 4 bits are packed
        * (num_learnt if module is head else sum(lengths))
        for module in causal.modules()
        if isinstance(module, nn.Linear)
    )
    return linear + _attention(causal.config, lengths)


def _attention(config: Any, lengths: Sequence[int]) -> float:
    head_size = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    width = config.num_attention_heads * head_size
    return 6 * config.num_hidden_layers * width * sum(length**2 for length in lengths)


def peak_flops(device: str, dtype: torch.dtype) -> float:
    """Operations a second that the device's matrix products reach."""
    if device == "cpu":
        return matmul_flops(device, dtype)
    return matmul_flops(device, dtype, shape=_OF_LARGE_DEVICE)
