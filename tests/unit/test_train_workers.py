"""Several workers learn what one does: real processes that meet in a file, over gloo."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labkit.train.checkpoint import Checkpoints
from labkit.train.label_loss import LabelLoss
from labkit.train.loop import Hooks, LoopSettings, fit
from labkit.train.workers import ALONE, Workers, join, leave
from tests.unit.training import at_once

NUM_ROWS = 32
SIZE = 3
SETTINGS = LoopSettings(
    num_epochs=2, batch_size=8, learning_rate=0.05, head_learning_rate=0.05, label_smoothing=0.1
)


class Points:
    """Points of the plane, labelled by the side of a line on which they lie."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.points_N2 = rng.normal(size=(NUM_ROWS, 2)).astype(np.float32)
        self.labels_N = (self.points_N2.sum(axis=1) > 0.5).astype(np.int64)

    def batches(self, batch_size: int, seed: tuple[int, ...]) -> list[np.ndarray]:
        """The last of them has fewer rows than there are workers."""
        order_N = np.random.default_rng(seed).permutation(NUM_ROWS)
        return [*np.split(order_N[:-2], [8, 15, 23]), order_N[-2:]]

    def inputs(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        return (torch.from_numpy(self.points_N2[rows]),)


def train(folder: Path, workers: Workers, stop_before: int | None = None) -> dict[str, Tensor]:
    torch.set_num_threads(1)
    torch.manual_seed(1 + workers.rank)  # all begin with the first one's weights
    model, rows = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2)), Points()
    asked = iter(range(10_000))

    def validate() -> tuple[float, float]:
        with torch.inference_mode():
            logits_NL = workers.gather(
                NUM_ROWS, lambda mine: model(torch.from_numpy(rows.points_N2[mine])).numpy()
            )
        found_NL, labels_N = torch.from_numpy(logits_NL), torch.from_numpy(rows.labels_N)
        return float(nn.functional.cross_entropy(found_NL, labels_N)), 0.0

    def should_stop() -> bool:
        # Only the first is asked to stop, as only its node may have been.
        return workers.is_first and next(asked) == stop_before

    weights_L = torch.tensor([0.7, 1.6])
    fit(
        model,
        LabelLoss(model, rows, SETTINGS, class_weights_L=weights_L, workers=workers),
        SETTINGS,
        checkpoints=Checkpoints(folder / "checkpoints"),
        resume_from=None,
        hooks=Hooks(report=lambda **_: None, should_stop=should_stop, validate=validate),
        workers=workers,
    )
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def one_of_them(folder: Path, rank: int, stop_before: int | None) -> None:
    workers = join(folder / "store", rank, SIZE, "cpu")
    torch.save(train(folder, workers, stop_before), folder / f"weights-{rank}.pt")
    leave(workers)
    # Python 3.11's own end now and then aborts on torch's threads. Ray's workers end so, too.
    os._exit(0)


def train_together(folder: Path, stop_before: int | None = None) -> list[dict[str, Tensor]]:
    at_once(one_of_them, [(folder, rank, stop_before) for rank in range(SIZE)])
    return [torch.load(folder / f"weights-{rank}.pt") for rank in range(SIZE)]


def test_several_learn_what_one_learns_alone(tmp_path: Path):
    (tmp_path / "alone").mkdir()
    alone = train(tmp_path / "alone", ALONE)
    for weights in train_together(tmp_path):
        for name, tensor in alone.items():
            torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-5)
    # What alone was written is that of the first: two writers would be in each other's way.
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        path.name for path in sorted((tmp_path / "alone" / "checkpoints").iterdir())
    ]


def test_all_stop_at_the_step_at_which_the_first_is_asked_to(tmp_path: Path):
    first, *others = train_together(tmp_path, stop_before=3)
    for weights in others:
        assert all(torch.equal(first[name], weights[name]) for name in first)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_each_row_of_a_batch_is_one_workers(size: int):
    rows_B = np.arange(7)
    shares = [Workers(rank, size).share(rows_B) for rank in range(size)]
    assert sorted(np.concatenate(shares).tolist()) == rows_B.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
