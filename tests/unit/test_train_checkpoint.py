"""Checkpoints: whole or not there, the newest two kept, a full disk told in a sentence."""

import json
import os
from pathlib import Path

import pytest
import torch

from labkit.errors import LabkitError
from labkit.train import checkpoint
from labkit.train.checkpoint import Checkpoints, DiskFull, load_checkpoint

TENSORS = {"weights.a": torch.arange(6.0).reshape(2, 3).T, "random": torch.get_rng_state()}


def test_what_is_saved_comes_back(tmp_path: Path):
    folder = Checkpoints(tmp_path / "checkpoints").save(7, TENSORS, {"step": 7})
    tensors, state = load_checkpoint(folder)
    assert state == {"step": 7}
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_only_its_owner_can_read_it(tmp_path: Path):
    folder = Checkpoints(tmp_path / "checkpoints").save(1, TENSORS, {})
    assert folder.parent.stat().st_mode & 0o777 == folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "state.safetensors").stat().st_mode & 0o777 == 0o600


def test_the_newest_two_stay(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert not checkpoints.folder.exists() and checkpoints.newest() is None
    for step in (9, 10, 11):
        checkpoints.save(step, TENSORS, {"step": step})
    assert sorted(p.name for p in checkpoints.folder.iterdir()) == [
        "step-00000010",
        "step-00000011",
    ]
    assert checkpoints.newest() == checkpoints.folder / "step-00000011"


def test_without_room_the_older_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    older = checkpoints.save(1, TENSORS, {"step": 1})
    monkeypatch.setattr(checkpoint, "_SPARE_BYTES", 2**60)
    with pytest.raises(DiskFull, match="labkit run delete"):
        checkpoints.save(2, TENSORS, {"step": 2})
    assert checkpoints.newest() == older


def test_a_write_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checkpoints = Checkpoints(tmp_path / "checkpoints")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(DiskFull, match="No space left"):
        checkpoints.save(1, TENSORS, {})
    assert list(checkpoints.folder.iterdir()) == []


@pytest.mark.parametrize("missing", ["state.json", "state.safetensors"])
def test_a_checkpoint_that_is_not_whole_is_named(tmp_path: Path, missing: str):
    folder = Checkpoints(tmp_path / "checkpoints").save(1, TENSORS, {})
    (folder / missing).unlink()
    with pytest.raises(LabkitError, match="step-00000001 cannot be read"):
        load_checkpoint(folder)


def test_a_checkpoint_with_half_a_file_is_named(tmp_path: Path):
    folder = Checkpoints(tmp_path / "checkpoints").save(1, TENSORS, {})
    file = folder / "state.safetensors"
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(LabkitError, match="cannot be read"):
        load_checkpoint(folder)


def test_its_state_is_plain_json(tmp_path: Path):
    folder = Checkpoints(tmp_path / "checkpoints").save(1, TENSORS, {"best_loss": 0.25})
    assert json.loads((folder / "state.json").read_text()) == {"best_loss": 0.25}
