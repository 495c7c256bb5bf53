"""Loss and gradients are those of plain transformers, one example at a time, however computed."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.errors import LabkitError
from labkit.train import packed_attention, token_loss
from labkit.train.chat import Seen
from labkit.train.decoder import states_of
from labkit.train.language_loss import LanguageLoss, LossSettings, measure
from labkit.train.packing import lay_out
from labkit.train.token_loss import loss_sum
from labkit.train.workers import ALONE, Workers, join, leave
from tests.unit.tiny_decoder import FAMILIES, tiny_decoder
from tests.unit.training import at_once

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTHS = (9, 40, 2, 23, 31)
TOGETHER = LossSettings(batch_size=len(LENGTHS), row_tokens=sum(LENGTHS))


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return tiny_decoder(request.param)


@pytest.fixture
def llama() -> Any:
    return tiny_decoder("llama")


def examples(seed: int = 0) -> list[Seen]:
    """Of uneven length, about half of their tokens learnt; the last is cut."""
    rng = np.random.default_rng(seed)
    made = [
        Seen(
            row=n + 2,
            text="",
            learnt_spans=[],
            ids_T=rng.integers(256, size=length).astype(np.int32),
            learnt_T=rng.random(length) < 0.5,
            cut_at=0,
            max_tokens=28 if n == len(LENGTHS) - 1 else 64,
        )
        for n, length in enumerate(LENGTHS)
    ]
    made[2].learnt_T[:] = True
    return made


def plain(model: Any, seen: list[Seen]) -> tuple[float, dict[str, Tensor]]:
    """The mean loss and its gradients by transformers alone, one example at a time."""
    model.set_attn_implementation("eager")
    total, count = torch.zeros(()), 0
    for one in seen:
        ids_1T = torch.from_numpy(one.ids_T[: one.max_tokens].astype(np.int64))[None]
        learnt_T = torch.from_numpy(one.learnt_T[: one.max_tokens])
        labels_T = torch.where(learnt_T, ids_1T[0], -100)
        logits_TV = model(input_ids=ids_1T).logits[0]
        total = total + F.cross_entropy(logits_TV[:-1], labels_T[1:], reduction="sum")
        count += int(learnt_T[1:].sum())
    (total / count).backward()
    return float(total.detach() / count), taken(model)


def taken(model: Any) -> dict[str, Tensor]:
    """The gradients, which are then gone from the model."""
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def ours(model: Any, seen: list[Seen], settings: LossSettings) -> tuple[float, dict[str, Tensor]]:
    loss = LanguageLoss(model, seen, settings).backward(np.arange(len(seen)))
    return float(loss), taken(model)


def assert_alike(one: dict[str, Tensor], other: dict[str, Tensor], within: float = 1e-4) -> None:
    assert one.keys() == other.keys() and one
    for name, gradient in one.items():
        error = (gradient - other[name]).norm() / (gradient.norm() + 1e-12)
        assert error < within, f"{name}: {error:.2e}"
    assert any(gradient.norm() > 1e-3 for gradient in one.values())


@pytest.mark.parametrize("small_bytes", [0, 2**30], ids=["in chunks", "at once"])
def test_loss_and_every_gradient_are_those_of_plain_transformers(
    model: Any, small_bytes: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(token_loss, "_SMALL_BYTES", small_bytes)
    expected, gradients = plain(model, examples())
    found, ours_ = ours(model, examples(), TOGETHER)
    assert found == pytest.approx(expected, rel=1e-5)
    assert_alike(gradients, ours_)


@pytest.mark.parametrize("small_bytes", [0, 2**30], ids=["in chunks", "at once"])
def test_in_16_bits_it_is_nearly_the_same(
    model: Any, small_bytes: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(token_loss, "_SMALL_BYTES", small_bytes)
    expected, gradients = ours(model, examples(), TOGETHER)
    found, ours_ = ours(model, examples(), replace(TOGETHER, dtype=torch.bfloat16))
    assert found == pytest.approx(expected, rel=1e-2) and found != expected
    assert_alike(gradients, ours_, within=0.1)


@pytest.mark.parametrize("row_tokens", [1, 33, 50, 10_000])
def test_how_many_tokens_are_computed_at_a_time_changes_nothing(llama: Any, row_tokens: int):
    """1 takes each example alone: no packing, five steps of accumulation."""
    expected, gradients = ours(llama, examples(), TOGETHER)
    settings = LossSettings(batch_size=5, row_tokens=row_tokens)
    found, ours_ = ours(llama, examples(), settings)
    assert found == pytest.approx(expected, rel=1e-6)
    assert_alike(gradients, ours_, within=1e-5)


def test_a_batchs_loss_is_the_mean_over_its_tokens_not_over_its_examples(llama: Any):
    seen = examples()
    alone = [measure(llama, [one], TOGETHER)[0] for one in seen]
    losses, tokens = (sum(float(figures[n]) for figures in alone) for n in (0, 1))
    assert ours(llama, seen, TOGETHER)[0] == pytest.approx(losses / tokens, rel=1e-5)
    by_example = np.mean([figures[0] / figures[1] for figures in alone])
    assert abs(losses / tokens - by_example) > 1e-3


def test_states_before_tokens_that_are_not_learnt_get_no_gradient(model: Any):
    model.set_attn_implementation(packed_attention.register())
    kept: list[Tensor] = []

    def keep(_: Any, __: Any, out: Any) -> None:
        out.last_hidden_state.retain_grad()
        kept.append(out.last_hidden_state)

    handle = model.get_decoder().register_forward_hook(keep)
    row = lay_out(examples())
    loss_sum(states_of(model, row), model.get_output_embeddings(), row.targets_P).backward()
    handle.remove()
    norms_T = kept[0].grad[0].norm(dim=1)  # type: ignore[index]
    learnt_T = torch.zeros(len(norms_T), dtype=torch.bool)
    learnt_T[row.learnt_P] = True
    assert (norms_T[~learnt_T] == 0).all() and (norms_T[learnt_T] > 0).all()


def test_what_stands_behind_the_last_token_to_learn_changes_nothing(llama: Any):
    seen = examples()
    seen = [one for one in seen if len(one.ids_T) > 5]
    for one in seen:
        one.learnt_T[1], one.learnt_T[-5:] = True, False
    expected, gradients = ours(llama, seen, TOGETHER)
    for one in seen:
        one.ids_T[np.flatnonzero(one.learnt_T)[-1] + 1 :] = 7
    found, ours_ = ours(llama, seen, TOGETHER)
    assert found == pytest.approx(expected, rel=1e-6)
    assert_alike(gradients, ours_, within=1e-5)


def test_an_example_does_not_see_its_neighbours(model: Any):
    seen, others = examples(), examples(seed=1)
    before = measure(model, seen, TOGETHER)
    after = measure(model, [others[0], seen[1], others[2], others[3], others[4]], TOGETHER)
    np.testing.assert_allclose(after[1], before[1], rtol=1e-5)
    assert abs(after[0, 0] - before[0, 0]) > 1e-3


def test_measuring_gives_what_training_makes_smaller(model: Any):
    seen = examples()
    figures_N3 = measure(model, seen, TOGETHER)
    loss, _ = ours(model, seen, TOGETHER)
    assert figures_N3[:, 0].sum() / figures_N3[:, 1].sum() == pytest.approx(loss, rel=1e-5)
    assert figures_N3[:, 1].tolist() == [one.num_learnt for one in seen]
    assert (figures_N3[:, 2] <= figures_N3[:, 1]).all()


def test_measuring_leaves_the_models_attention_as_it_was(llama: Any):
    llama.set_attn_implementation("sdpa")
    measure(llama, examples(), TOGETHER)
    assert llama.config._attn_implementation == "sdpa"


def test_every_example_is_in_one_batch_of_an_epoch(llama: Any):
    settings = LossSettings(batch_size=2, row_tokens=64)
    loss = LanguageLoss(llama, examples(), settings)
    batches = loss.batches((0, 0))
    assert sorted(np.concatenate(batches).tolist()) == [0, 1, 2, 3, 4]
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert any((a != b).any() for a, b in zip(batches, loss.batches((0, 1)), strict=True))
    assert sum(map(loss.size, batches)) == sum(LENGTHS) - 3  # three tokens are cut off


def of_two_batches(model: Any, workers: Workers) -> list[tuple[float, dict[str, Tensor]]]:
    """Loss and gradients of each; the second has nothing for a second worker."""
    loss = LanguageLoss(model, examples(), TOGETHER, workers)
    return [(float(loss.backward(batch)), taken(model)) for batch in (np.arange(5), np.array([1]))]


def one_of_two(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    workers = join(folder / "store", rank, 2, "cpu")
    model = tiny_decoder("llama", seed=rank)  # all begin with the first one's weights
    torch.save(of_two_batches(model, workers), folder / f"gradients-{rank}.pt")
    model.get_input_embeddings().weight.data[int(examples()[0].ids_T[0])] = float("nan")
    with pytest.raises(LabkitError, match="no number, at row"):  # of one worker, known to both
        LanguageLoss(model, examples(), TOGETHER, workers).backward(np.array([0, 1]))
    leave(workers)
    os._exit(0)  # as in test_train_workers


def test_two_workers_find_the_gradients_that_one_finds_alone(llama: Any, tmp_path: Path):
    at_once(one_of_two, [(tmp_path, rank) for rank in range(2)])
    for rank in range(2):
        together = torch.load(tmp_path / f"gradients-{rank}.pt")
        for (loss, gradients), (theirs, theirs_) in zip(
            of_two_batches(llama, ALONE), together, strict=True
        ):
            assert theirs == pytest.approx(loss, rel=1e-5)
            assert_alike(gradients, theirs_, within=1e-5)


def test_a_loss_that_is_no_number_names_the_rows(llama: Any):
    seen = examples()
    for one in seen:
        one.ids_T[one.ids_T == 7] = 8
    seen[3].ids_T[0] = 7
    llama.get_input_embeddings().weight.data[7] = float("nan")
    loss = LanguageLoss(llama, seen, TOGETHER)
    assert loss.backward(np.array([0, 2])).isfinite()
    with pytest.raises(LabkitError, match="no number, at row 5. Lower learning_rate"):
        loss.backward(np.array([0, 2, 3]))
    llama.get_output_embeddings().weight.data.fill_(float("nan"))
    with pytest.raises(LabkitError, match="no number, at rows 2, 4, 5. Lower"):
        loss.backward(np.array([0, 2, 3]))
