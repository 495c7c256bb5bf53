"""Tokens and batches: every row once, little padding, another order in every epoch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from labkit.train.tokens import (
    TokenRows,
    batches_of_like_length,
    in_order_of_length,
    tokenize,
)
from tests.unit.tiny_encoder import save_tiny_encoder


def rows_of(*lengths: int) -> TokenRows:
    """Rows of those lengths, with ids that count from 1."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return TokenRows(np.arange(1, starts[-1] + 1, dtype=np.int32), starts)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = save_tiny_encoder(tmp_path_factory.mktemp("base"))
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def test_texts_become_ids_end_to_end_and_long_ones_are_cut(tokenizer):
    tokens = tokenize(tokenizer, ["bin full", "", "road mud hole crack edge"], max_tokens=4)
    assert tokens.lengths_N.tolist() == [4, 2, 4]
    assert tokens.num_cut == 1
    assert tokens.ids[4:6].tolist() == [2, 3]  # An empty text is [CLS] [SEP].


def test_no_texts_are_no_tokens(tokenizer):
    assert len(tokenize(tokenizer, [], max_tokens=8)) == 0


def test_a_batch_is_padded_to_its_longest_row():
    ids_BT, mask_BT = rows_of(2, 3, 1).batch(np.array([1, 2]))
    assert ids_BT.tolist() == [[3, 4, 5], [6, 0, 0]]
    assert mask_BT.tolist() == [[True, True, True], [True, False, False]]


def test_rows_of_one_length_need_no_mask():
    (ids_BT,) = rows_of(2, 3, 2).batch(np.array([0, 2]))
    assert ids_BT.tolist() == [[1, 2], [6, 7]]


def test_an_epoch_has_every_row_once_and_little_padding():
    lengths_N = np.random.default_rng(0).integers(3, 60, size=1000)
    batches = batches_of_like_length(lengths_N, 32, seed=(0, 0))
    assert sorted(np.concatenate(batches)) == list(range(1000))
    assert max(len(batch) for batch in batches) <= 32
    padded = sum(len(batch) * lengths_N[batch].max() for batch in batches)
    assert padded < 1.05 * lengths_N.sum()


def test_epochs_differ_and_the_same_epoch_does_not():
    lengths_N = np.random.default_rng(0).integers(3, 9, size=200)

    def epoch(*seed: int) -> list[list[int]]:
        return [batch.tolist() for batch in batches_of_like_length(lengths_N, 16, seed)]

    assert epoch(0, 1) == epoch(0, 1)
    assert epoch(0, 1) != epoch(0, 2) != epoch(1, 2)


def test_inference_takes_about_as_many_tokens_at_a_time():
    lengths_N = np.array([5, 900, 3, 40, 40, 7])
    groups = list(in_order_of_length(lengths_N, tokens_per_batch=100))
    assert sorted(np.concatenate(groups)) == list(range(6))
    assert all(len(group) == 1 or len(group) * lengths_N[group].max() <= 100 for group in groups)


def test_ids_are_what_an_embedding_takes():
    (ids_BT,) = rows_of(4).batch(np.array([0]))
    assert ids_BT.dtype == torch.int64
