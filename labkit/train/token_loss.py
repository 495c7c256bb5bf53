"""The loss of a language model over the tokens that are learnt, without all of its logits.

The logits of a row are tokens × vocabulary, gigabytes for a large vocabulary. Only those of
tokens to learn are made, a chunk at a time.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SMALL_BYTES = 64 * 2**20
"""Logits up to this size are made at once, which is faster."""
_CHUNK = 1024


def loss_sum(states_PD: Tensor, head: nn.Linear, targets_P: Tensor) -> Tensor:
    """The sum of the cross-entropies of P tokens in nats, shape (), for a backward pass.

    `states_PD` are the decoder's states before those tokens, `head` is its output layer. In
    chunks torch gives the sum in the states' own format: in bfloat16 it is told to within 0.4 %,
    while its gradients are summed in float32.
    """
    at_once = len(targets_P) <= tokens_at_once(head)
    options = None if at_once else nn.LinearCrossEntropyOptions()
    bias_V = None if head.bias is None else head.bias.to(states_PD.dtype)
    return F.linear_cross_entropy(
        states_PD,
        head.weight.to(states_PD.dtype),
        targets_P,
        linear_bias=bias_V,
        reduction="sum",
        options=options,
    ).float()


def tokens_at_once(head: nn.Linear) -> int:
    """Up to how many tokens all logits are made at once."""
    return _SMALL_BYTES // (4 * head.weight.shape[0])


@torch.no_grad()
def token_losses(states_PD: Tensor, head: nn.Linear, targets_P: Tensor) -> tuple[Tensor, Tensor]:
    """Of each token its cross-entropy in nats, and whether the model finds it the likeliest."""
    losses, hits = [], []
    for states_CD, targets_C in zip(states_PD.split(_CHUNK), targets_P.split(_CHUNK), strict=True):
        logits_CV = head(states_CD).float()
        losses.append(F.cross_entropy(logits_CV, targets_C, reduction="none"))
        hits.append(logits_CV.argmax(dim=1) == targets_C)
    return torch.cat(losses), torch.cat(hits)
