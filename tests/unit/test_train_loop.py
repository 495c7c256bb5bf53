"""The training loop: it learns, ends early, and goes on from a checkpoint as if never stopped."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labkit.errors import LabkitError
from labkit.train import checkpoint, loop
from labkit.train.checkpoint import Checkpoints
from labkit.train.label_loss import LabelLoss
from labkit.train.loop import Hooks, LoopSettings, fit

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = LoopSettings(num_epochs=3, batch_size=8, learning_rate=0.05, head_learning_rate=0.05)


class Points:
    """Points of the plane, labelled by the side of a line on which they lie."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.points_N2 = rng.normal(size=(64, 2)).astype(np.float32)
        self.labels_N = (self.points_N2.sum(axis=1) > 0).astype(np.int64)

    def batches(self, batch_size: int, seed: tuple[int, ...]) -> list[np.ndarray]:
        order_N = np.random.default_rng(seed).permutation(64)
        return np.array_split(order_N, 64 // batch_size)

    def inputs(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        return (torch.from_numpy(self.points_N2[rows]),)


def network() -> nn.Module:
    """With dropout, so that a resumed run must find its random numbers again."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Dropout(0.3), nn.Linear(16, 2))


class Trained(NamedTuple):
    done: bool
    weights: dict[str, Tensor]
    reports: list[dict[str, Any]]


def train(
    folder: Path,
    settings: LoopSettings = SETTINGS,
    *,
    stop_before: int | None = None,
    resume_from: Path | None = None,
    validate: Callable[[], tuple[float, float]] | None = None,
    class_weights_L: Tensor | None = None,
) -> Trained:
    """One call of `fit`. `stop_before` is the step before which it is asked to stop."""
    folder.mkdir(exist_ok=True)
    model, rows, reports = network(), Points(), []
    asked = iter(range(10_000))

    @torch.inference_mode()
    def on_all_rows() -> tuple[float, float]:
        model.eval()
        logits_NL = model(torch.from_numpy(rows.points_N2))
        labels_N = torch.from_numpy(rows.labels_N)
        accuracy = float((logits_NL.argmax(1) == labels_N).float().mean())
        return float(nn.functional.cross_entropy(logits_NL, labels_N)), accuracy

    done = fit(
        model,
        LabelLoss(model, rows, settings, class_weights_L=class_weights_L),
        settings,
        checkpoints=Checkpoints(folder / "checkpoints"),
        resume_from=resume_from,
        hooks=Hooks(
            report=lambda **fields: reports.append(fields),
            should_stop=lambda: next(asked) == stop_before,
            validate=validate or on_all_rows,
        ),
    )
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return Trained(done, weights, reports)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns_and_says_how_far_it_is(tmp_path: Path):
    trained = train(tmp_path)
    assert trained.done
    assert [r["validation_accuracy"] for r in trained.reports if "validation_accuracy" in r][
        -1
    ] > 0.9
    first = trained.reports[0]
    assert first["step"] == 1 and first["num_steps"] == 24
    assert first["rows_per_second"] > 0 and first["seconds_left"] >= 0


def test_the_seed_alone_decides(tmp_path: Path):
    one, again = train(tmp_path / "a"), train(tmp_path / "b")
    assert same(one.weights, again.weights)
    assert not same(one.weights, train(tmp_path / "c", replace(SETTINGS, seed=1)).weights)


@pytest.mark.parametrize("step", [3, 8, 13], ids=["in the first epoch", "between", "in the second"])
def test_a_resumed_run_ends_with_exactly_the_same_weights(tmp_path: Path, step: int):
    whole = train(tmp_path / "whole")
    stopped = train(tmp_path / "cut", stop_before=step)
    newest = Checkpoints(tmp_path / "cut" / "checkpoints").newest()
    assert not stopped.done and newest is not None and newest.name == f"step-{step:08d}"
    resumed = train(tmp_path / "cut", resume_from=newest)
    assert resumed.done
    assert same(whole.weights, resumed.weights)


def test_it_ends_early_and_keeps_the_weights_that_validated_best(tmp_path: Path):
    losses = iter([0.5, 0.6, 0.7, 0.8])
    settings = replace(SETTINGS, num_epochs=10, patience=2)
    trained = train(tmp_path / "long", settings, validate=lambda: (next(losses), 0.5))
    assert sum("validation_loss" in report for report in trained.reports) == 3
    only_first = iter([0.5, 0.6])
    settings = replace(settings, patience=1)
    short = train(tmp_path / "short", settings, validate=lambda: (next(only_first), 0.5))
    assert same(trained.weights, short.weights)


def test_a_loss_that_is_no_number_ends_it_with_advice(tmp_path: Path):
    with pytest.raises(LabkitError, match="Lower learning_rate"):
        train(tmp_path, validate=lambda: (float("nan"), 0.0))


def test_a_full_disk_is_said_and_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkpoint, "_SPARE_BYTES", 2**60)
    trained = train(tmp_path)
    assert trained.done
    assert any("labkit run delete" in report.get("message", "") for report in trained.reports)
    assert Checkpoints(tmp_path / "checkpoints").newest() is None


def test_a_label_of_no_weight_is_not_learnt(tmp_path: Path):
    settings = replace(SETTINGS, num_epochs=10, patience=10)
    trained = train(tmp_path, settings, class_weights_L=torch.tensor([0.0, 1.0]))
    # Nearly every row is answered with label 1, so that the accuracy is that label's share.
    share = Points().labels_N.mean()
    assert trained.reports[-1]["validation_accuracy"] == pytest.approx(share, abs=0.1)


def test_weights_that_are_no_numbers_never_replace_a_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "REPORT_EVERY_S", 60.0)  # so that no report finds it first
    train(tmp_path, stop_before=3)
    newest = Checkpoints(tmp_path / "checkpoints").newest()
    infinite_L = torch.full((2,), float("inf"))
    with pytest.raises(LabkitError, match="Lower learning_rate"):
        train(tmp_path, resume_from=newest, class_weights_L=infinite_L, stop_before=2)
    assert newest is not None and Checkpoints(tmp_path / "checkpoints").newest() == newest
