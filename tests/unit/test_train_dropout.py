"""Dropout from bytes: its share, its scale, its seed, and that every encoder's is caught."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from labkit.train.dropout import byte_dropout, use_byte_dropout
from labkit.train.encoder import TextClassifier

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "pad_token_id": 0,
}
CONFIGS = [
    transformers.BertConfig(**SIZES),
    transformers.RobertaConfig(**SIZES),
    transformers.XLMRobertaConfig(**SIZES),
    transformers.MPNetConfig(**SIZES),
    transformers.DistilBertConfig(
        vocab_size=40, dim=32, n_layers=2, n_heads=4, hidden_dim=64, pad_token_id=0
    ),
    transformers.ModernBertConfig(
        **SIZES, attention_dropout=0.1, mlp_dropout=0.1, bos_token_id=1, eos_token_id=2
    ),
]
IDS_BT = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]])
MASK_BT = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


def classifier(config: transformers.PretrainedConfig) -> TextClassifier:
    torch.manual_seed(0)
    encoder = transformers.AutoModel.from_config(config, attn_implementation="eager")
    return TextClassifier(encoder, 3)


def gradients(model: nn.Module) -> list[Tensor]:
    model.zero_grad()
    model(IDS_BT, MASK_BT).square().sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_zeroes_its_share_and_keeps_the_mean(dtype: torch.dtype):
    states = torch.ones(40, 33, 7, dtype=dtype)
    torch.manual_seed(0)
    dropped = byte_dropout(states, 0.25)
    assert dropped.dtype == dtype
    assert (dropped == 0).float().mean() == pytest.approx(0.25, abs=0.02)
    assert dropped.float().mean() == pytest.approx(1.0, abs=0.02)
    torch.manual_seed(0)
    assert torch.equal(byte_dropout(states, 0.25), dropped)
    assert torch.equal(byte_dropout(states, 0.25, training=False), states)
    assert not byte_dropout(states, 1.0).any()


def test_gradients_pass_where_states_pass():
    states = torch.ones(50, 10, requires_grad=True)
    dropped = byte_dropout(states, 0.5)
    dropped.sum().backward()
    assert states.grad is not None
    assert torch.equal(states.grad, dropped)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_no_encoder_drops_any_other_way(
    config: transformers.PretrainedConfig, monkeypatch: pytest.MonkeyPatch
):
    model = classifier(config).train()
    use_byte_dropout(model)
    torch.manual_seed(5)
    first = gradients(model)
    torch.manual_seed(5)
    assert all(map(torch.equal, first, gradients(model)))
    assert not all(map(torch.equal, first, gradients(model)))
    # PyTorch's own dropout, which both the module and attention call, is never reached.
    monkeypatch.setattr(torch._VF, "dropout", _refuse)
    gradients(model)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_without_dropout_nothing_changes(config: transformers.PretrainedConfig):
    model = classifier(config).eval()
    plain, plain_gradients = model(IDS_BT, MASK_BT), gradients(model)
    use_byte_dropout(model)
    assert torch.equal(model(IDS_BT, MASK_BT), plain)
    assert all(map(torch.equal, gradients(model), plain_gradients))


def test_elsewhere_dropout_is_as_it_was():
    model = nn.Sequential(nn.Dropout(0.5)).train()
    use_byte_dropout(model)
    states = torch.ones(100)
    model(states)
    torch.manual_seed(3)
    expected = torch.dropout(states, 0.5, True)
    torch.manual_seed(3)
    assert torch.equal(F.dropout(states, 0.5), expected)


def _refuse(*_: Any) -> Tensor:
    raise AssertionError("PyTorch's dropout was called")
