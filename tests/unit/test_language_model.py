"""The folder of a tuned language model: what peft and transformers make of it, and its answers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from labkit.data.messages import Message
from labkit.errors import LabkitError, UsageError
from labkit.train import language_model
from labkit.train.chat import Chat
from labkit.train.decoder import load_decoder
from labkit.train.instruct import InstructTuning, tune
from labkit.train.language_model import load_model, merge
from tests.unit.tiny_decoder import TEMPLATE, save_tiny_decoder
from tests.unit.toy_tuning import by, make_tuning, saved
from tests.unit.training import PEFT_ASKS_BY_AN_OLDER_NAME

pytestmark = [PEFT_ASKS_BY_AN_OLDER_NAME, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_decoder(tmp_path_factory.mktemp("base"))


@pytest.fixture
def tuning(base: Path, tmp_path: Path) -> InstructTuning:
    return make_tuning(base, tmp_path)


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


IDS_1T = torch.arange(40)[None]


@torch.inference_mode()
def logits(model: Any) -> Tensor:
    model.eval()
    model.set_attn_implementation("eager")
    return model(input_ids=IDS_1T).logits


def test_an_adapter_is_one_of_pefts(tuning: InstructTuning, base: Path):
    assert tune(tuning)
    folder = tuning.folder / "model"
    mine = logits(load_model(folder, "cpu").model)
    plain = AutoModelForCausalLM.from_pretrained(base)
    unchanged = logits(plain)
    pefts = logits(PeftModel.from_pretrained(plain, folder))
    torch.testing.assert_close(mine, pefts, rtol=0, atol=1e-6)
    assert (mine - unchanged).abs().max() > 1e-3
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base) and config["lora_alpha"] == 16
    assert not {file.suffix for file in folder.iterdir()} & {".bin", ".pt", ".pkl"}


def test_a_merged_model_is_base_and_adapter_and_needs_neither(tuning: InstructTuning):
    assert tune(tuning)
    folder = tuning.folder / "model"
    apart = logits(load_model(folder, "cpu").model)
    merge(folder)
    torch.testing.assert_close(logits(load_model(folder, "cpu").model), apart, atol=1e-5, rtol=0)
    plain = AutoModelForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(logits(plain), apart, atol=1e-5, rtol=0)
    assert not list(folder.glob("adapter_*"))


def test_merging_while_tuning_leaves_the_same_model(tuning: InstructTuning, tmp_path: Path):
    apart, together = made(tmp_path / "apart"), made(tmp_path / "together")
    assert tune(replace(tuning, folder=apart))
    assert tune(replace(tuning, folder=together, merge=True))
    torch.testing.assert_close(
        logits(load_model(together / "model", "cpu").model),
        logits(load_model(apart / "model", "cpu").model),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_full_tuning_leaves_a_model_of_transformers(
    tuning: InstructTuning, tmp_path: Path, family: str
):
    """Gemma's output layer is its embedding: one weight in two places."""
    assert tune(by(tuning, "full", base=save_tiny_decoder(tmp_path / "base", family)))
    folder = tuning.folder / "model"
    plain = AutoModelForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(logits(load_model(folder, "cpu").model), logits(plain))
    assert (folder / "chat_template.jinja").read_text() == TEMPLATE


def test_weights_keep_the_format_of_the_base(tuning: InstructTuning, tmp_path: Path):
    half = tmp_path / "half"
    model, tokenizer = load_decoder(tuning.base, torch.bfloat16)
    model.save_pretrained(half)
    tokenizer.save_pretrained(half)
    assert tune(by(tuning, "full", base=half))
    assert {tensor.dtype for tensor in saved(tuning.folder).values()} == {torch.bfloat16}


@pytest.mark.parametrize("name", ["labkit.json", "adapter_config.json", "tokenizer.json",
                                  "adapter_model.safetensors"])  # fmt: skip
def test_a_damaged_model_folder_is_said_in_a_sentence(tuning: InstructTuning, name: str):
    assert tune(tuning)
    folder = tuning.folder / "model"
    (folder / name).write_text("{")
    with pytest.raises(LabkitError, match=r"The tuned model in .* is damaged"):
        load_model(folder, "cpu")


@pytest.mark.parametrize(
    ("card", "sentence"),
    [('{"format": 2, "new": 1}', "is of a newer labkit: its format is 2, .* reads 1"),
     ('{"format": "x"}', "is damaged"), ("[1]", "is damaged")],
)  # fmt: skip
def test_a_model_folder_of_a_newer_labkit_says_so(tmp_path: Path, card: str, sentence: str):
    (tmp_path / "labkit.json").write_text(card)
    with pytest.raises(LabkitError, match=sentence):
        language_model.read_card(tmp_path)


def test_an_adapter_whose_base_is_gone_says_so(tuning: InstructTuning, tmp_path: Path):
    base = save_tiny_decoder(tmp_path / "here")
    assert tune(replace(tuning, base=base))
    base.rename(tmp_path / "there")
    with pytest.raises(LabkitError, match="base model of .* is no longer at .*here"):
        load_model(tuning.folder / "model", "cpu")


def untuned_model(base: Path) -> language_model.LanguageModel:
    model, tokenizer = load_decoder(base, torch.float32)
    return language_model.LanguageModel(
        model=model,
        chat=Chat(tokenizer=tokenizer, template=TEMPLATE, max_tokens=64),
        stop_ids=[tokenizer.eos_token_id],
    )


@pytest.mark.parametrize(
    "wish", [{"repetition_penalty": 9.0}, {"no_repeat_ngram_size": 1}, {"num_beams": 4}]
)
def test_the_likeliest_token_is_taken_whatever_the_base_asks_for(base: Path, wish: dict[str, Any]):
    untuned = untuned_model(base)
    question = [Message(role="user", content="red?")]
    likeliest = untuned.answer(question, 30)
    untuned.model.generation_config.update(**wish)
    assert untuned.answer(question, 30) == likeliest


def test_an_answer_ends_at_its_longest(tuning: InstructTuning):
    untuned, tokenizer = untuned_model(tuning.base), load_decoder(tuning.base, torch.float32)[1]
    answer = untuned.answer([Message(role="user", content="x" * 200)], 5)
    assert len(tokenizer(answer)["input_ids"]) <= 15  # five bytes, each shown as up to three
    # The context has 512 tokens, of which the template takes two.
    assert len(untuned.answer([Message(role="user", content="x" * 509)], 5)) <= 3
    with pytest.raises(UsageError, match="question is too long: 512 tokens"):
        untuned.answer([Message(role="user", content="x" * 510)], 5)
