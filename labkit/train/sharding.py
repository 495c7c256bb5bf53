"""A causal language model shared out among its workers, for one that is too large for each.

FSDP2, torch's `fully_shard` (Zhao et al. 2023, "PyTorch FSDP"): of each weight, gradient and moment
a worker holds a part, and a block's weights are whole only while it computes. So every pass is a
meeting of all workers, and they must make equally many, forward and backward.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from labkit.train.workers import Workers

T = TypeVar("T")
Sharding = Literal["auto", "always", "never"]


def shard(model: Any, workers: Workers, device: str, dtype: torch.dtype) -> None:
    """Leave on the device this worker's part of a causal language model, in place.

    The model lies whole on the processor and goes to the device block by block. Each part is of the
    worker that has it, so that all train the same weights. Blocks are gathered in `dtype`, in which
    they compute; gradients are summed over the workers, in float32.
    """
    mesh = init_device_mesh(torch.device(device).type, (workers.size,))
    computed = MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
    for block in model.get_decoder().layers:
        fully_shard(block, mesh=mesh, mp_policy=computed)
    for part in _outside_blocks(model):
        # Freed between the passes, too: what is looked at there are parts.
        fully_shard(
            part,
            mesh=mesh,
            reshard_after_forward=True,
            mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False),
        )
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # of one, which gloo can do
    model.compute_whole = lambda compute: compute()
    register_fsdp_forward_method(model, "compute_whole")


def _outside_blocks(model: Any) -> list[nn.Module]:
    """What is gathered by itself: embeddings that have weights of their own; and all the rest."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    return [model] if embeddings.weight is head.weight else [embeddings, model]


def is_sharded(model: Any) -> bool:
    return isinstance(model, FSDPModule)


def whole(model: Any, compute: Callable[[], T]) -> T:
    """What `compute` gives, which may use weights outside of the model's blocks and embeddings.

    They are gathered meanwhile, and again for the backward pass.
    """
    return model.compute_whole(compute) if is_sharded(model) else compute()


def gathered_bytes(model: Any, dtype: torch.dtype) -> int:
    """Of the weights that are whole on each worker while a block computes in `dtype`."""
    blocks = [list(block.parameters()) for block in model.get_decoder().layers]
    of_blocks = {id(p) for block in blocks for p in block}
    outside = sum(p.nbytes for p in model.parameters() if id(p) not in of_blocks)
    return outside + dtype.itemsize * max(sum(p.numel() for p in block) for block in blocks)


def own_part(tensor: Tensor) -> Tensor:
    """What this worker holds of it: all of a tensor that is not shared out."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """All of a tensor. All workers ask together, and of one that is shared out the first gets it,
    on its processor; the others get an empty one."""
    if not isinstance(tensor, DTensor):
        return tensor
    mesh = tensor.device_mesh
    there: Any = tensor.detach().to(mesh.device_type)
    full: Tensor = there.full_tensor()
    return full.cpu() if mesh.get_rank() == 0 else full.new_empty(0)


def shared_out(tensor: Tensor, like: Tensor) -> Tensor:
    """A copy of what this worker is to hold of a tensor: on the device of `like`, cut as that is.

    Nothing is sent: each worker has all of it. A single number is everybody's.
    """
    if not isinstance(like, DTensor) or tensor.ndim == 0:
        return tensor.to(like.device, copy=True)
    mesh, placements = like.device_mesh, like.placements
    return distribute_tensor(tensor, mesh, placements, src_data_rank=None).clone()
