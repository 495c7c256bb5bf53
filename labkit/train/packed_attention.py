"""Attention that keeps the examples of a row apart, for every decoder of transformers.

transformers calls it by its name in each block, with the row's bounds; see its documentation,
"Attention backends". On CUDA it is torch's varlen attention; elsewhere each example by itself.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAME = "labkit_packed"


def register() -> str:
    """Make it known to transformers; the name that a model is then told to attend by."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)
    return NAME


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
    if _has_varlen(query_1HTD) and not dropout:
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
    lengths = bounds.diff().tolist()
    parts = zip(
        query_1HTD.split(lengths, dim=2),
        key_1KTD.split(lengths, dim=2),
        value_1KTD.split(lengths, dim=2),
        strict=True,
    )
    each = [
        F.scaled_dot_product_attention(
            *part,
            attn_mask=_window(part[0], sliding_window),
            is_causal=sliding_window is None,
            dropout_p=dropout,
            scale=scaling,
            enable_gqa=query_1HTD.shape[1] != key_1KTD.shape[1],
        )
        for part in parts
    ]
    return torch.cat(each, dim=2).transpose(1, 2), None


def _as_computed(*parts: Tensor) -> tuple[Tensor, ...]:
    """In the format of autocast, where it is on: positions have made queries float32 again."""
    kind = parts[0].device.type
    if not torch.is_autocast_enabled(kind):
        return parts
    return tuple(part.to(torch.get_autocast_dtype(kind)) for part in parts)


def _has_varlen(query: Tensor) -> bool:
    """Whether torch has varlen attention for it: on CUDA, in 16 bits, heads of up to 256."""
    return query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and (
        query.shape[-1] <= 256
    )  # fmt: skip


def _window(query_1HTD: Tensor, sliding_window: int | None) -> Tensor | None:
    """Which earlier tokens each token sees, (T, T); None where it sees all of them."""
    if sliding_window is None:
        return None
    places_T = torch.arange(query_1HTD.shape[2], device=query_1HTD.device)
    back_TT = places_T[:, None] - places_T[None, :]
    return (back_TT >= 0) & (back_TT < sliding_window)
