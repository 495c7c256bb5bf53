"""The arithmetic of a training, against what torch counts as it computes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from labkit.train.arithmetic import flop_per_epoch, peak_flops
from labkit.train.chat import Seen
from labkit.train.decoder import add_adapters
from labkit.train.language_loss import LanguageLoss, LossSettings
from tests.unit.tiny_decoder import tiny_decoder
from tests.unit.training import PEFT_ASKS_BY_AN_OLDER_NAME

pytestmark = [pytest.mark.usefixtures("one_thread"), PEFT_ASKS_BY_AN_OLDER_NAME]


def examples(learnt_share: float) -> list[Seen]:
    rng = np.random.default_rng(0)
    return [
        Seen(
            row=n, text="", learnt_spans=[], cut_at=0, max_tokens=200,
            ids_T=rng.integers(256, size=length).astype(np.int32),
            learnt_T=rng.random(length) < learnt_share,
        )
        for n, length in enumerate((100, 180, 250))
    ]  # fmt: skip


def counted(model: Any, seen: list[Seen]) -> int:
    objective = LanguageLoss(model, seen, LossSettings(batch_size=3, row_tokens=1000))
    # As products of matrices, which are counted: of all pairs of tokens, while a token sees only
    # those before it.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        objective.backward(np.arange(3))
    return counter.get_total_flops()


@pytest.mark.parametrize("learnt_share", [0.1, 1.0])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_it_is_what_torch_counts(family: str, learnt_share: float):
    model, seen = tiny_decoder(family), examples(learnt_share)
    told, linear = flop_per_epoch(model, seen), linear_alone(model, seen)
    assert counted(model, seen) == linear + 2 * (told - linear)


def linear_alone(model: Any, seen: list[Seen]) -> float:
    """As if attention cost nothing."""
    layers, model.config.num_hidden_layers = model.config.num_hidden_layers, 0
    try:
        return flop_per_epoch(model, seen)
    finally:
        model.config.num_hidden_layers = layers


def test_below_the_lowest_adapter_no_gradient_is_needed_which_the_formula_leaves_out():
    """Of two layers that counts, of 32 it does not."""
    model, seen = tiny_decoder("llama"), examples(0.5)
    add_adapters(model, 4, "all-linear")
    told, linear = flop_per_epoch(model, seen), linear_alone(model, seen)
    first = model.get_decoder().layers[0].self_attn
    spared = sum(
        2 * weight.numel() * sum(one.num_tokens for one in seen)
        for layer in (first.q_proj, first.k_proj, first.v_proj)
        for weight in (layer.base_layer.weight, layer.lora_A["default"].weight)
    )
    assert counted(model, seen) == linear + 2 * (told - linear) - spared


def test_a_device_is_measured():
    assert peak_flops("cpu", torch.float32) > 1e8
