"""The number format of training is the one that this device multiplies fastest."""

import pytest
import torch

from labkit.train import precision


@pytest.mark.parametrize(
    ("bfloat16_speed", "chosen"),
    [(16.0, torch.bfloat16), (1.2, torch.float32), (0.1, torch.float32)],
    ids=["matrix units", "not worth it", "emulated"],
)
def test_bfloat16_must_be_half_as_fast_again(
    monkeypatch: pytest.MonkeyPatch, bfloat16_speed: float, chosen: torch.dtype
):
    speeds = {torch.float32: 100e9, torch.bfloat16: 100e9 * bfloat16_speed}
    monkeypatch.setattr(precision, "matmul_flops", lambda device, dtype: speeds[dtype])
    assert precision.training_dtype.__wrapped__("cpu") is chosen


def test_a_product_is_timed():
    assert 1e8 < precision.matmul_flops("cpu", torch.float32, repeats=2) < 1e15


def test_a_format_that_is_emulated_is_tried_twice_and_no_more(monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]
    tried: list[torch.dtype] = []

    def product(rows: torch.Tensor, _: torch.Tensor) -> None:
        tried.append(rows.dtype)
        clock[0] += 0.15 if rows.dtype is torch.bfloat16 else 0.001

    monkeypatch.setattr(precision.F, "linear", product)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    assert precision.training_dtype.__wrapped__("cpu") is torch.float32
    assert tried.count(torch.bfloat16) == 2 and tried.count(torch.float32) == 8
