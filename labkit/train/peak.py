"""What a forward and a backward pass take of a device's memory, and what is free of it.

CUDA's allocator counts for itself. On a processor each tensor that is made is counted while it
lives; what an operator takes and gives back within itself is not seen.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def room_bytes(device: str) -> int:
    """What is free on the device now, of what this process may use."""
    if device == "cpu":
        from labkit.accelerators.cpu import free_memory_bytes

        return free_memory_bytes()
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def kept_and_peak(trained: nn.Module, forward: Callable[[], Tensor]) -> tuple[int, int]:
    """Bytes on the device after a forward pass, and at the peak of it and its backward pass.

    Gradients are there already, as they are from the second row of a step on.
    """
    parameters = [p for p in trained.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    device = next(trained.parameters()).device
    try:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            out = forward()
            kept = torch.cuda.memory_allocated(device)
            out.backward()
            return kept - before, torch.cuda.max_memory_allocated(device) - before
        with Allocated() as counted:
            out = forward()
            kept = counted.now
            out.backward()
        return kept, counted.peak
    finally:
        for parameter in parameters:
            parameter.grad = None


class Allocated(TorchDispatchMode):
    """Counts the bytes of tensors made meanwhile and still alive, on a device that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {_storage(tensor)._cdata for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(out):
            storage = _storage(tensor)
            if storage._cdata not in self._alive and storage._cdata not in given:
                self._made(storage)
        return out

    def _made(self, storage: torch.UntypedStorage) -> None:
        self._alive.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, which: int, size: int) -> None:
        self._alive.discard(which)
        self.now -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()
