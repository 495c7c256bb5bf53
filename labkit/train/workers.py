"""Several processes that train one model: each computes a share of every batch.

The batch is the same whatever their number, and so is what is learnt from it: gradients are
summed over the whole batch, so that a run may go on with fewer workers than it began with.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._C._distributed_c10d import FileStore
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")
TIMEOUT = timedelta(hours=24)
"""How long one waits for another that reads the data first. Who dies is noticed at once."""


@dataclass(frozen=True)
class Workers:
    """This process among those that train together; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and reports."""
        return self.rank == 0

    def share(self, rows_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of the batch that are this worker's; none where there are fewer than workers."""
        return self.shares(rows_B)[self.rank]

    def shares(self, rows_B: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """What is each worker's of the batch, by rank."""
        return [rows_B[rank :: self.size] for rank in range(self.size)]

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model whose backward pass leaves the mean of all workers' gradients in it.

        All begin with the first one's weights.
        """
        if self.size == 1:
            return model
        devices = {p.device for p in model.parameters()}
        on = [d.index for d in devices] if all(d.type == "cuda" for d in devices) else None
        # What no loss reaches, as an encoder's unused pooler, is found in the first step.
        return DistributedDataParallel(model, device_ids=on, static_graph=True)

    def start_alike(self, parameters: Iterable[nn.Parameter]) -> None:
        """All begin with the first one's weights."""
        if self.size > 1:
            for parameter in parameters:
                dist.broadcast(parameter.data, src=0)

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Put the sum over all workers into each of the tensors, in place."""
        if self.size > 1:
            sent = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
            for each in sent:
                assert each is not None, "it is of the group"
                each.wait()

    def agree(self, wish: bool) -> bool:
        """Whether the first worker wishes it; all go the same way."""
        if self.size == 1:
            return wish
        said = torch.tensor([wish], dtype=torch.int64, device=_device())
        dist.broadcast(said, src=0)
        return bool(said.item())

    def wait(self) -> None:
        """Until all are here."""
        self.agree(True)

    def everyone(self, said: T) -> list[T]:
        """What each of them says, by rank."""
        if self.size == 1:
            return [said]
        all_: list[Any] = [None] * self.size
        dist.all_gather_object(all_, said)
        return all_

    def gather(
        self, count: int, compute: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """What `compute` gives for the row numbers 0 … `count` - 1, each worker doing its share."""
        rows_N = np.arange(count)
        if self.size == 1:
            return compute(rows_N)
        # A worker without rows still has to say what shape they would have had.
        mine = self.share(rows_N) if self.rank < count else rows_N[:1]
        told = self.everyone((mine, compute(mine)))
        out = np.empty((count, *told[0][1].shape[1:]), dtype=np.float32)
        for rows, found in told:
            out[rows] = found
        return out


ALONE = Workers()


def join(store: Path, rank: int, size: int, device: str) -> Workers:
    """Become one of `size` workers that meet in the file `store`.

    A file of a 0700 folder, because torch's own store listens on all addresses without a secret.
    """
    dist.init_process_group(
        "nccl" if device.startswith("cuda") else "gloo",
        store=FileStore(str(store), size),
        rank=rank,
        world_size=size,
        timeout=TIMEOUT,
    )
    return Workers(rank, size)


def leave(workers: Workers) -> None:
    """End what `join` began, once all have come so far: nobody else may still be sending."""
    if workers.size > 1:
        workers.wait()
        dist.destroy_process_group()


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
