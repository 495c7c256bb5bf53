"""Checkpoints: weights and optimizer state as safetensors, the rest as JSON. No pickle.

A checkpoint appears under its name only when it is whole (written beside, then renamed),
so the newest that is there can always be resumed from.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from labkit.errors import LabkitError
from labkit.train.sharding import gathered, shared_out
from labkit.units import format_memory

KEEP = 2
_SPARE_BYTES = 64 * 2**20
"""Left free on the disk, for logs and status."""


class DiskFull(LabkitError):
    """There is no room for a checkpoint or a model."""


@dataclass(frozen=True)
class Checkpoints:
    """The folder of checkpoints of one attempt."""

    folder: Path

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
        """Write one and drop all but the newest two. Raises DiskFull, leaving the older."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        target = self.folder / f"step-{step:08d}"
        partial = self.folder / f".{target.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        require_room(self.folder, tensors)
        try:
            partial.mkdir(mode=0o700)
            save_tensors(tensors, partial / "state.safetensors")
            (partial / "state.json").write_text(json.dumps(state))
            shutil.rmtree(target, ignore_errors=True)
            os.rename(partial, target)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise DiskFull(f"No checkpoint could be written to {target}: {error}.") from error
        for old in sorted(self.folder.glob("step-*"))[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def newest(self) -> Path | None:
        return max(self.folder.glob("step-*"), default=None)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of a checkpoint. Raises LabkitError where it is not whole."""
    try:
        state = json.loads((folder / "state.json").read_text())
        return load_file(folder / "state.safetensors"), state
    except (OSError, ValueError, SafetensorError) as error:
        raise LabkitError(f"The checkpoint {folder} cannot be read: {error}.") from error


def save_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, file)
    file.chmod(0o600)


def require_room(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises DiskFull where the tensors would not fit on the folder's disk."""
    needed = sum(t.numel() * t.element_size() for t in tensors.values()) + _SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFull(
            f"The disk of {folder} has {format_memory(free)} free; {format_memory(needed)} are "
            "needed. Delete what is not needed (labkit run delete RUN), then resume."
        )


def training_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, best: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Everything that changes in training: trained weights, moments, random state, the best.

    All workers ask together, since each may have a part alone; the first gets the whole.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    parameters = dict(model.named_parameters())
    tensors = {f"weights.{name}": gathered(parameters[name].data) for name in names}
    for name in names:
        for key, value in optimizer.state.get(parameters[name], {}).items():
            tensors[f"optimizer.{key}.{name}"] = gathered(value)
    tensors |= {f"best.{name}": gathered(tensor) for name, tensor in best.items()}
    if next(model.parameters()).is_cuda:
        tensors["random_cuda"] = torch.cuda.get_rng_state()
    return {**tensors, "random": torch.get_rng_state()}


def restore_training(
    tensors: Mapping[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Put back what `training_tensors` took, in place; returns the best weights so far.

    Each worker is given the whole, and takes of it what it trains.
    """
    parameters = dict(model.named_parameters())
    best: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "weights":
            parameters[rest].data.copy_(shared_out(tensor, parameters[rest]))
        elif kind == "best":
            best[rest] = on_processor(shared_out(tensor, parameters[rest]))
        elif kind == "optimizer":
            part, _, name = rest.partition(".")
            parameter = parameters[name]
            # Fused AdamW keeps its step count, too, where the parameter is.
            optimizer.state[parameter][part] = shared_out(tensor, parameter)
    torch.set_rng_state(tensors["random"])
    if "random_cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random_cuda"])
    return best


def on_processor(tensor: Tensor) -> Tensor:
    """A copy where memory is not as scarce as where it is computed."""
    return torch.empty_like(tensor, device="cpu").copy_(tensor)
