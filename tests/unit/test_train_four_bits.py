"""A base model in 4 bits: what it holds, what is learnt on it, and where it is refused."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import bitsandbytes
import bitsandbytes.functional
import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit, Params4bit
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from labkit.errors import LabkitError, UsageError
from labkit.train import four_bits, token_loss
from labkit.train.decoder import add_adapters, load_decoder
from labkit.train.instruct import InstructTuning, measure_base, measure_tuned, tune
from labkit.train.language_loss import measure
from labkit.train.language_model import load_model
from tests.unit.test_train_language_loss import TOGETHER, assert_alike, examples, ours, plain
from tests.unit.tiny_decoder import FAMILIES, save_tiny_decoder
from tests.unit.toy_tuning import by, make_tuning
from tests.unit.training import PEFT_ASKS_BY_AN_OLDER_NAME

pytestmark = [PEFT_ASKS_BY_AN_OLDER_NAME, pytest.mark.usefixtures("one_thread")]

WIDE: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512}
"""Wide enough for its weights to outweigh the tables that all layers share."""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny_decoder(tmp_path / "base", **WIDE)


@pytest.fixture
def tuning(base: Path, tmp_path: Path) -> InstructTuning:
    return by(make_tuning(base, tmp_path), "qlora")


def in_four_bits(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The model there, with adapters that already change what it says."""
    model, _ = load_decoder(folder, dtype, "cpu")
    torch.manual_seed(0)
    for name, weights in add_adapters(model, rank=4, targets="all-linear").named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weights, std=0.1)
    return model


def frozen(model: Any) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}


# What it holds.


@pytest.mark.parametrize("family", FAMILIES)
def test_linear_layers_but_the_last_are_in_4_bits(tmp_path: Path, family: str):
    model, _ = load_decoder(save_tiny_decoder(tmp_path, family), torch.float32, "cpu")
    head = model.get_output_embeddings()
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert len(linear) > 8
    for module in linear:
        assert isinstance(module, Linear4bit) == (module is not head)
        assert module.weight.dtype == (torch.float32 if module is head else torch.uint8)
    others = [p for p in model.parameters() if not isinstance(p, Params4bit)]
    assert {parameter.dtype for parameter in others} == {torch.float32}


def test_a_weight_takes_a_little_over_half_a_byte(base: Path):
    model, _ = load_decoder(base, torch.float32, "cpu")
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    held: dict[int, int] = {}
    for layer in layers:
        state: Any = layer.weight.quant_state  # type: ignore[attr-defined]
        assert state.quant_type == "nf4" and state.nested
        for part in (layer.weight.data, state.absmax, state.state2.absmax):
            held[part.data_ptr()] = part.numel() * part.element_size()
    num_weights = sum(layer.in_features * layer.out_features for layer in layers)
    assert sum(held.values()) / num_weights == pytest.approx(four_bits.BYTES_A_WEIGHT, abs=0.01)


# What is learnt on it.


@pytest.mark.parametrize("small_bytes", [0, 2**30], ids=["in chunks", "at once"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_every_adapters_gradient_are_those_of_plain_transformers(
    tmp_path: Path, family: str, small_bytes: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(token_loss, "_SMALL_BYTES", small_bytes)
    model = in_four_bits(save_tiny_decoder(tmp_path, family))
    expected, gradients = plain(model, examples())
    found, ours_ = ours(model, examples(), TOGETHER)
    assert found == pytest.approx(expected, rel=1e-5)
    assert_alike(gradients, ours_)
    assert all("lora_" in name for name in ours_)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_validation_changes_nothing_of_what_is_learnt_after_it(base: Path, dtype: torch.dtype):
    model, settings = in_four_bits(base, dtype), replace(TOGETHER, dtype=dtype)
    before, weights = ours(model.train(), examples(), settings), frozen(model)
    measure(model, examples(), settings)
    assert all(torch.equal(weights[name], held) for name, held in frozen(model).items())
    after = ours(model.train(), examples(), settings)
    assert before[0] == after[0] and before[1].keys() == after[1].keys()
    assert all(torch.equal(before[1][name], gradient) for name, gradient in after[1].items())


def test_the_base_stays_as_it_is_while_adapters_learn(base: Path):
    model = in_four_bits(base)
    weights = frozen(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    losses = []
    for _ in range(5):
        loss, gradients = ours(model.train(), examples(), TOGETHER)
        assert gradients.keys().isdisjoint(weights)
        for name, parameter in model.named_parameters():
            parameter.grad = gradients.get(name)
        optimizer.step()
        losses.append(loss)
    assert losses[-1] < losses[0] - 0.1
    assert all(torch.equal(weights[name], held) for name, held in frozen(model).items())


# What is left of it.


IDS_1T = torch.arange(40)[None]


@torch.inference_mode()
def logits(model: Any) -> Tensor:
    return model.eval()(input_ids=IDS_1T).logits


def test_the_adapter_is_pefts_on_a_base_in_4_bits_and_on_a_whole_one(
    tuning: InstructTuning, base: Path
):
    assert tune(tuning)
    folder = tuning.folder / "model"
    mine = logits(load_model(folder, "cpu").model)
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
    plain = AutoModelForCausalLM.from_pretrained(base, quantization_config=nf4, device_map="cpu")
    four_bits.keep_one_layout(plain)
    unchanged = logits(plain)
    pefts = logits(PeftModel.from_pretrained(plain, folder))
    torch.testing.assert_close(mine, pefts, rtol=0, atol=1e-6)
    assert (mine - unchanged).abs().max() > 1e-2
    whole = AutoModelForCausalLM.from_pretrained(base)
    of_whole = logits(PeftModel.from_pretrained(whole, folder))
    assert 1e-4 < (mine - of_whole).abs().max() < 0.5


def test_merged_it_is_the_whole_base_and_the_adapter(tuning: InstructTuning, tmp_path: Path):
    apart, together = tmp_path / "apart", tmp_path / "together"
    apart.mkdir()
    together.mkdir()
    assert tune(replace(tuning, folder=apart))
    assert tune(replace(tuning, folder=together, merge=True))
    whole = AutoModelForCausalLM.from_pretrained(tuning.base)
    expected = logits(PeftModel.from_pretrained(whole, apart / "model"))
    merged = load_model(together / "model", "cpu").model
    torch.testing.assert_close(logits(merged), expected, atol=1e-5, rtol=0)
    assert not any(isinstance(module, Linear4bit) for module in merged.modules())


def test_base_and_tuned_model_are_measured_in_the_same_format(tuning: InstructTuning):
    """Without a step that changes anything, they are one: in 4 bits, or whole where merged."""
    still = replace(tuning.loop, learning_rate=0.0, head_learning_rate=0.0, num_epochs=1)
    losses = []
    for merge in (False, True):
        tuning = replace(tuning, loop=still, merge=merge)
        base = measure_base(tuning)
        assert tune(tuning)
        assert measure_tuned(tuning).losses == pytest.approx(base.losses, rel=1e-5)
        losses.append(sum(base.losses))
    assert abs(losses[0] - losses[1]) > 1e-3


# Where it is refused.


@pytest.mark.parametrize("package", ["bitsandbytes", "accelerate"])
def test_a_missing_package_is_said_with_how_to_get_it(
    tuning: InstructTuning, package: str, monkeypatch: pytest.MonkeyPatch
):
    assert tune(tuning)
    monkeypatch.setitem(sys.modules, package, None)
    for refused in (lambda: tune(tuning), lambda: load_model(tuning.folder / "model", "cpu")):
        with pytest.raises(UsageError) as raised:
            refused()
        assert str(raised.value) == (
            f"The method 'qlora' holds the base model in 4 bits, for which {package} must be "
            "installed here. Install it with: pip install 'labkit[qlora]'. The methods 'lora' and "
            "'full' do not need it."
        )


def test_a_device_that_cannot_do_it_is_said_before_the_model_is_read(
    tuning: InstructTuning, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("\n🚨 CUDA VERSION MISMATCH 🚨\nand forty lines more")

    monkeypatch.setattr(bitsandbytes.functional, "quantize_4bit", broken)
    (tuning.base / "model.safetensors").unlink()
    with pytest.raises(LabkitError, match=r"'cpu' cannot do here: 🚨 CUDA VERSION MISMATCH 🚨\. "):
        measure_base(tuning)


def test_an_old_gpu_is_refused_before_it_is_tried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (5, 2))
    with pytest.raises(LabkitError, match=r"'cuda' cannot do here: .* 6\.0 or newer\. Choose"):
        four_bits.load_options("cuda", torch.bfloat16)


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_weights_that_were_quantised_already_are_refused(
    tuning: InstructTuning, tmp_path: Path, method: Any
):
    folder = tmp_path / "small"
    model, tokenizer = load_decoder(tuning.base, torch.float32, "cpu")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with pytest.raises(LabkitError, match=r"weights in .*small are quantised already"):
        tune(by(tuning, method, base=folder))


def test_importing_bitsandbytes_asks_no_hub_for_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It would ask the package `kernels` for it, where that is installed; this one is told."""
    (tmp_path / "kernels.py").write_text("")
    (tmp_path / "bitsandbytes.py").write_text(
        "try:\n    import kernels\n    fetched = True\nexcept ImportError:\n    fetched = False\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bitsandbytes")
    four_bits.import_without_fetching()
    imported: Any = sys.modules["bitsandbytes"]
    assert imported is not bitsandbytes and not imported.fetched
    assert "kernels" not in sys.modules


ADAPTERS_ALONE = """
import sys
from pathlib import Path
from labkit.train.encoder import TextClassifier, load_encoder, merge_adapters, prepare_method

model = TextClassifier(load_encoder(Path(sys.argv[1]))[0], 2)
prepare_method(model, "lora", 4)
print(sum("lora" in name for name, _ in model.named_parameters()))
merge_adapters(model)
print([name for name in ("bitsandbytes", "torch._inductor.compile_fx") if sys.modules.get(name)])
"""


def test_a_process_that_tunes_adapters_alone_imports_neither_bitsandbytes_nor_a_compiler(
    tiny_base: Path,
):
    command = [sys.executable, "-c", ADAPTERS_ALONE, tiny_base]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    num_adapters, imported = done.stdout.splitlines()
    assert int(num_adapters) > 0 and imported == "[]"
