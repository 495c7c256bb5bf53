"""Attention within each example; what is handed to torch's varlen attention, which needs CUDA.

The fake in its place does what its documentation says, on a processor. The real one was not
run by these tests.
"""

import pytest
import torch
from torch import Tensor, nn

from labkit.train import packed_attention as packed

LENGTHS = (5, 1, 9)
TOTAL = sum(LENGTHS)


def fake_varlen(
    query_THD: Tensor,
    key_TKD: Tensor,
    value_TKD: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """As torch.nn.attention.varlen.varlen_attn is documented, one example at a time."""
    assert max_q == max_k == max(LENGTHS) and cu_seq_q.dtype == torch.int32
    assert enable_gqa == (query_THD.shape[1] != key_TKD.shape[1])
    left, right = window_size
    assert right == 0
    out = []
    for start, end in zip(cu_seq_q[:-1].tolist(), cu_seq_k[1:].tolist(), strict=True):
        groups = query_THD.shape[1] // key_TKD.shape[1]
        query, key, value = query_THD[start:end], key_TKD[start:end], value_TKD[start:end]
        key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
        scores_HTT = scale * torch.einsum("thd,shd->hts", query, key)
        back_TT = torch.arange(end - start)[:, None] - torch.arange(end - start)[None]
        seen_TT = (back_TT >= 0) & ((back_TT <= left) | torch.tensor(left == -1))
        shares_HTT = scores_HTT.masked_fill(~seen_TT, -torch.inf).softmax(dim=-1)
        out.append(torch.einsum("hts,shd->thd", shares_HTT, value))
    return torch.cat(out)


def attend(heads: int, groups: int, sliding_window: int | None) -> Tensor:
    torch.manual_seed(0)
    query = torch.randn(1, heads, TOTAL, 8)
    key, value = torch.randn(1, groups, TOTAL, 8), torch.randn(1, groups, TOTAL, 8)
    bounds = torch.tensor([0, 5, 6, 15], dtype=torch.int32)
    out, _ = packed.packed_attention(
        nn.Identity(), query, key, value, None, bounds=bounds, max_length=9, scaling=0.3,
        sliding_window=sliding_window,
    )  # fmt: skip
    return out


@pytest.mark.parametrize("sliding_window", [None, 1, 4, 100])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2), (4, 1)])
def test_varlen_attention_is_handed_what_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, heads: int, groups: int, sliding_window: int | None
):
    expected = attend(heads, groups, sliding_window)
    assert expected.shape == (1, TOTAL, heads, 8)
    monkeypatch.setattr(packed, "_has_varlen", lambda *_: True)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", fake_varlen)
    torch.testing.assert_close(attend(heads, groups, sliding_window), expected)


def test_a_window_of_one_sees_itself_alone():
    torch.manual_seed(0)
    _, _, value = (torch.randn(1, 2, TOTAL, 8) for _ in range(3))  # as `attend` draws them
    assert torch.allclose(attend(2, 2, 1), value.transpose(1, 2), atol=1e-6)


def test_it_is_computed_in_the_format_of_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert attend(2, 2, None).dtype == torch.bfloat16
    assert attend(2, 2, None).dtype == torch.float32
