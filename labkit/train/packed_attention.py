"""Attention that keeps the examples of a row apart, for every decoder of transformers.

transformers calls it by its name in each block, with the row's bounds; see its documentation,
"Attention backends". On CUDA it is torch's varlen attention; elsewhere each example by itself.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.train.attend_each import attend_each, examples

NAME = "labkit_packed"
_uncompiled: Any = torch.compiler.disable
"""Its own annotations do not say that it decorates."""


def register() -> str:
    """Make it known to transformers; the name that a model is then told to attend by."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)
    return NAME


def in_words(device: str, dtype: torch.dtype, config: Any) -> str:
    """Which attention a model of that configuration gets there, for a log."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if _has_varlen(device, dtype, width):
        return "torch's varlen attention, all examples of a row at once"
    return "torch's fused attention, one example of a row at a time"


def packed_attention(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    attention_mask: Tensor | None,
    *,
    bounds: Tensor,
    max_length: int,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each example; shape (1, T, H, D). K divides H (grouped queries).

    `sliding_window` is how many tokens one sees, itself among them, as transformers counts.
    """
    if sliding_window is not None and sliding_window >= max_length:
        sliding_window = None
    query_1HTD, key_1KTD, value_1KTD = _as_computed(query_1HTD, key_1KTD, value_1KTD)
    if _has_varlen(query_1HTD.device.type, query_1HTD.dtype, query_1HTD.shape[-1]) and not dropout:
        from torch.nn.attention.varlen import varlen_attn

        query_THD, key_TKD, value_TKD = (
            part[0].transpose(0, 1) for part in (query_1HTD, key_1KTD, value_1KTD)
        )
        out_THD = varlen_attn(
            query_THD, key_TKD, value_TKD, bounds, bounds, max_length, max_length,
            scale=scaling,
            window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
            enable_gqa=query_THD.shape[1] != key_TKD.shape[1],
        )  # fmt: skip
        assert isinstance(out_THD, Tensor), "nothing else was asked for"
        return out_THD[None], None
    parts = query_1HTD, key_1KTD, value_1KTD
    if torch.compiler.is_compiling() and not query_1HTD.is_cuda and not dropout:
        return attend_each(*parts, bounds, scaling, sliding_window)[0], None
    return _one_by_one(*parts, scaling, dropout, bounds, sliding_window), None


@_uncompiled
def _one_by_one(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    dropout: float,
    bounds: Tensor,
    sliding_window: int | None,
) -> Tensor:
    each = [
        F.scaled_dot_product_attention(
            *part,
            attn_mask=mask,
            is_causal=mask is None,
            dropout_p=dropout,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for *part, mask in examples(bounds, sliding_window, query, key, value)
    ]
    return torch.cat(each, dim=2).transpose(1, 2)


def _as_computed(*parts: Tensor) -> tuple[Tensor, ...]:
    """In the format of autocast, where it is on: positions have made queries float32 again."""
    kind = parts[0].device.type
    if not torch.is_autocast_enabled(kind):
        return parts
    return tuple(part.to(torch.get_autocast_dtype(kind)) for part in parts)


def _has_varlen(device: str, dtype: torch.dtype, width: int) -> bool:
    """Whether torch has varlen attention there: on CUDA, in 16 bits, heads of up to 256."""
    return device == "cuda" and dtype in (torch.bfloat16, torch.float16) and width <= 256
