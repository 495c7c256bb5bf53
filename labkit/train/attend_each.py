"""Attention within each example of a row, on a processor, as one operator of torch's.

A compiled block calls it, so that it is neither broken in two there nor compiled anew for other
bounds. It does what `scaled_dot_product_attention` does, one example at a time.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, library

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


@library.custom_op("labkit::attend_each", mutates_args=(), device_types="cpu")
def attend_each(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor,
    scaling: float | None,
    sliding_window: int | None,
) -> tuple[Tensor, Tensor]:
    """What is attended to, (1, T, H, D), and the logarithms of the softmax's sums, (1, H, T).

    Of `query`, (1, H, T, D), and of `key` and `value`, (1, K, T, D); K divides H.
    """
    each = [
        _flash(*parts, is_causal=mask is None, attn_mask=mask, scale=scaling)
        for *parts, mask in examples(bounds, sliding_window, query, key, value)
    ]
    out_1HTD, sums_1HT = (torch.cat(parts, dim=2) for parts in zip(*each, strict=True))
    return out_1HTD.transpose(1, 2).contiguous(), sums_1HT


@attend_each.register_fake
def _(query: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    one, heads, tokens, width = query.shape
    out_1THD = query.new_empty(one, tokens, heads, width)
    return out_1THD, query.new_empty(one, heads, tokens, dtype=torch.float32)


@library.custom_op("labkit::attend_each_backward", mutates_args=(), device_types="cpu")
def _backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor,
    out: Tensor,
    sums: Tensor,
    scaling: float | None,
    sliding_window: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value, in their shapes."""
    by_head = gradient.transpose(1, 2), query, key, value, out.transpose(1, 2), sums
    each = [
        _flash_backward(*parts, sums.contiguous(), 0.0, mask is None, attn_mask=mask, scale=scaling)
        for *parts, sums, mask in examples(bounds, sliding_window, *by_head)
    ]
    query_1HTD, key_1KTD, value_1KTD = (
        torch.cat(parts, dim=2) for parts in zip(*each, strict=True)
    )
    return query_1HTD.contiguous(), key_1KTD.contiguous(), value_1KTD.contiguous()


@_backward.register_fake
def _(gradient: Tensor, *parts: Tensor | None) -> tuple[Tensor, ...]:
    return tuple(part.new_empty(part.shape) for part in parts[:3] if part is not None)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, bounds, ctx.scaling, ctx.sliding_window = inputs
    ctx.save_for_backward(query, key, value, bounds, *output)


def _gradients(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    found = _backward(gradient, *ctx.saved_tensors, ctx.scaling, ctx.sliding_window)
    return *found, None, None, None


attend_each.register_autograd(_gradients, setup_context=_keep)


def examples(
    bounds: Tensor, sliding_window: int | None, *wholes: Tensor
) -> Iterator[tuple[Any, ...]]:
    """Of each example its part of each of the wholes, (1, H, T, …), and its mask."""
    lengths = bounds.diff().tolist()
    parts = [whole.split(lengths, dim=2) for whole in wholes]
    masks = [_window(part, sliding_window) for part in parts[0]]
    return zip(*parts, masks, strict=True)


def _window(query_1HTD: Tensor, sliding_window: int | None) -> Tensor | None:
    """What is added to the scores of T tokens, (T, T); None where each sees all before it."""
    num_tokens = query_1HTD.shape[2]
    if sliding_window is None or sliding_window >= num_tokens:
        return None
    places_T = torch.arange(num_tokens, device=query_1HTD.device)
    back_TT = places_T[:, None] - places_T[None, :]
    seen_TT = (back_TT >= 0) & (back_TT < sliding_window)
    return query_1HTD.new_zeros(num_tokens, num_tokens).masked_fill_(~seen_TT, -torch.inf)
