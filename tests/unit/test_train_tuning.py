"""Tuning from texts to a model folder, by each method, with a random BERT of two layers."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from labkit.errors import LabkitError
from labkit.train.checkpoint import Checkpoints
from labkit.train.classifier import TunedClassifier, best_temperature, negative_log_likelihood
from labkit.train.encoder import Method, TextClassifier, load_encoder, start_head_from_means
from labkit.train.loop import LoopSettings
from labkit.train.tokens import tokenize
from labkit.train.tuning import Tuning, instant_answers, tune
from labkit.train.vocabulary import NarrowVocabulary
from tests.unit.tiny_encoder import LABELS, UNUSED, made_up_rows, save_tiny_encoder
from tests.unit.training import PEFT_ASKS_BY_AN_OLDER_NAME, silent

pytestmark = [PEFT_ASKS_BY_AN_OLDER_NAME, pytest.mark.usefixtures("one_thread")]

METHODS: tuple[Method, ...] = ("full", "lora", "head")
RATES = {"full": 2e-3, "lora": 5e-3, "head": 2e-2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture
def tuning(base: Path, tmp_path: Path) -> Tuning:
    return Tuning(
        base=base,
        recipe="text-classification",
        labels=LABELS,
        train=made_up_rows(96),
        validation=made_up_rows(24, seed=1),
        method="full",
        max_tokens=16,
        lora_rank=4,
        class_weights=None,
        unsure_below=0.5,
        loop=LoopSettings(
            num_epochs=2, batch_size=16, learning_rate=2e-3, head_learning_rate=2e-2, patience=9
        ),
        folder=tmp_path,
        resume_from=None,
        report=silent,
        should_stop=lambda: False,
    )


def by(tuning: Tuning, method: Method, **changes: Any) -> Tuning:
    loop = replace(tuning.loop, learning_rate=RATES[method])
    return replace(tuning, method=method, loop=loop, **changes)


def stop_before(step: int) -> Callable[[], bool]:
    asked = count()
    return lambda: next(asked) == step


def accuracy(tuned: TunedClassifier) -> float:
    rows = made_up_rows(60, seed=2)
    return float((tuned.shares(rows.texts).argmax(axis=1) == rows.labels_N).mean())


@pytest.mark.parametrize("method", METHODS)
def test_each_method_learns_and_its_folder_answers_the_same(tuning: Tuning, method: Method):
    tuned = tune(by(tuning, method))
    assert tuned is not None
    assert accuracy(tuned) > 0.9
    folder = tuning.folder / "model"
    tuned.save(folder)
    texts = ["bulb dim", "mud crack hole edge"]
    loaded = TunedClassifier.load(folder, "cpu")
    np.testing.assert_allclose(loaded.shares(texts), tuned.shares(texts), atol=1e-5)
    assert json.loads((folder / "labkit.json").read_text())["labels"] == LABELS
    assert not list(folder.glob("*.bin"))


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_tuning_resumes_to_exactly_the_same_model(
    tuning: Tuning, tmp_path: Path, method: Method
):
    whole = tune(by(tuning, method, folder=_made(tmp_path / "whole")))
    cut = _made(tmp_path / "cut")
    assert tune(by(tuning, method, folder=cut, should_stop=stop_before(8))) is None
    newest = Checkpoints(cut / "checkpoints").newest()
    resumed = tune(by(tuning, method, folder=cut, resume_from=newest))
    assert whole is not None and resumed is not None
    texts = made_up_rows(20, seed=3).texts
    assert np.array_equal(whole.shares(texts), resumed.shares(texts))


def test_the_instant_answer_comes_first_with_its_accuracy(tuning: Tuning):
    reports: list[dict[str, Any]] = []
    rows = made_up_rows(40, seed=2)
    answers_N = instant_answers(
        replace(tuning, report=lambda **fields: reports.append(fields)), rows.texts
    )
    assert (answers_N == rows.labels_N).mean() > 0.8
    assert reports[-1]["instant_accuracy"] > 0.8
    assert len(np.load(tuning.folder / "embeddings.npy")) == 96


def test_weights_of_words_that_no_text_has_stay_as_they_were(tuning: Tuning, base: Path):
    tuned = tune(tuning)
    assert tuned is not None
    before = load_encoder(base)[0].get_input_embeddings().weight  # type: ignore[operator]
    after = tuned.model.encoder.get_input_embeddings().weight  # type: ignore[operator]
    assert after.shape == before.shape
    assert torch.equal(after[-UNUSED:], before[-UNUSED:])
    assert not torch.equal(after[:-UNUSED], before[:-UNUSED])


def test_a_narrow_vocabulary_gives_the_same_states(base: Path):
    encoder, tokenizer = load_encoder(base)
    tokens = tokenize(tokenizer, ["road mud", "bulb dim"], 16)
    whole = encoder(*tokens.batch(np.array([0, 1]))).last_hidden_state
    vocabulary = NarrowVocabulary(encoder, tokens)
    renumbered = vocabulary.renumber(tokens)
    assert encoder.get_input_embeddings().weight.shape[0] == 7  # type: ignore[operator]
    assert renumbered.ids.max() == 6
    assert torch.equal(whole, encoder(*renumbered.batch(np.array([0, 1]))).last_hidden_state)


def test_padding_does_not_change_a_text(base: Path):
    encoder, tokenizer = load_encoder(base)
    model = TextClassifier(encoder, len(LABELS)).eval()
    tokens = tokenize(tokenizer, ["road mud", "bulb dim dark light lamp"], 16)
    with torch.inference_mode():
        alone = model(*tokens.batch(np.array([0])))
        padded = model(*tokens.batch(np.array([0, 1])))
    assert torch.allclose(padded[:1], alone, atol=1e-5)


def test_a_head_started_from_class_means_knows_its_classes():
    embeddings_ND = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    head = nn.Linear(3, 3)
    start_head_from_means(head, embeddings_ND, np.array([2, 2, 0, 1]))
    assert head(torch.eye(3)).argmax(1).tolist() == [2, 0, 1]
    assert not head.bias.any()


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_that_the_logits_were_multiplied_by(true_temperature: float):
    rng = np.random.default_rng(0)
    logits_NL = rng.normal(size=(5000, 4)).astype(np.float32) * 2
    shares_NL = np.exp(logits_NL) / np.exp(logits_NL).sum(axis=1, keepdims=True)
    labels_N = (shares_NL.cumsum(axis=1) > rng.random((5000, 1))).argmax(axis=1)
    found = best_temperature(logits_NL * np.float32(true_temperature), labels_N)
    assert found == pytest.approx(true_temperature, rel=0.1)


def test_sure_and_right_costs_nothing_sure_and_wrong_much():
    logits_NL = np.array([[50.0, 0.0]], dtype=np.float32)
    assert negative_log_likelihood(logits_NL, np.array([0]), 1.0) == pytest.approx(0)
    assert negative_log_likelihood(logits_NL, np.array([1]), 1.0) == pytest.approx(50)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", ["labkit.json", "head.safetensors", "config.json"])
def test_a_damaged_model_folder_is_said_in_a_sentence(tuning: Tuning, name: str):
    tuned = tune(by(tuning, "head"))
    assert tuned is not None
    folder = tuning.folder / "model"
    tuned.save(folder)
    (folder / name).write_text("{")
    with pytest.raises(LabkitError, match=r"The tuned model in .* is damaged"):
        TunedClassifier.load(folder, "cpu")
