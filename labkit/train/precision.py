"""Which number format a device multiplies fastest, found by trying."""

import time
from functools import cache

import torch
import torch.nn.functional as F

_OF_SMALL_ENCODER = (1024, 384, 1536)
ENOUGH_S = 0.05
"""Of one format's products. A processor that emulates a format takes 0.15 s for one."""


@cache
def training_dtype(device: str) -> torch.dtype:
    """bfloat16 where a matrix product is at least 1.5 times as fast in it, else float32.

    A processor without bfloat16 units emulates it, many times slower than float32, and no
    flag of the processor tells reliably: so both are timed, in a tenth of a second, or three
    where it is emulated.
    """
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float32
    fast = matmul_flops(device, torch.bfloat16) >= 1.5 * matmul_flops(device, torch.float32)
    return torch.bfloat16 if fast else torch.float32


def matmul_flops(
    device: str,
    dtype: torch.dtype,
    repeats: int = 8,
    shape: tuple[int, int, int] = _OF_SMALL_ENCODER,
) -> float:
    """Floating-point operations a second of a product: of rows, numbers in and numbers out.

    The best of `repeats`, or of those that fit into ENOUGH_S, but of two at the least: the first
    one prepares.
    """
    num_rows, num_in, num_out = shape
    rows = torch.randn(num_rows, num_in, device=device).to(dtype)
    weights = torch.randn(num_out, num_in, device=device).to(dtype)
    taken: list[float] = []
    while len(taken) < 2 or (len(taken) < repeats and sum(taken[1:]) < ENOUGH_S):
        start = time.perf_counter()
        F.linear(rows, weights)
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return 2 * num_rows * num_in * num_out / min(taken)
