"""An encoder with a head of one linear layer: its loading, tuning methods, embeddings."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from labkit.importing import importing
from labkit.train import four_bits
from labkit.train.tokens import TokenRows, in_order_of_length

Method = Literal["head", "lora", "full"]

TOKENS_PER_BATCH = {"cpu": 1024}
"""For reading without training: what a processor's cache holds, and more on other devices."""
_TOKENS_PER_BATCH_ELSEWHERE = 16384
HEAD_SCALE = 20.0
"""Logits of a head started from class means: cosine similarity times this."""


class TextClassifier(nn.Module):
    """The mean of the encoder's states over a text's tokens, normalised, then a linear head."""

    def __init__(self, encoder: nn.Module, num_labels: int):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.hidden_size, num_labels)  # type: ignore[union-attr]

    def forward(self, ids_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Logits, shape (B, L)."""
        return self.head(embed(self.encoder, ids_BT, mask_BT))


def embed(encoder: nn.Module, ids_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
    """One vector of length 1 for each text, shape (B, D). Without a mask nothing is padding."""
    states_BTD = encoder(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
    if mask_BT is None:
        return F.normalize(states_BTD.mean(1), dim=-1)
    weights_BT1 = mask_BT.unsqueeze(-1).to(states_BTD.dtype)
    return F.normalize((states_BTD * weights_BT1).sum(1) / weights_BT1.sum(1), dim=-1)


@importing()
def load_encoder(folder: Path) -> tuple[nn.Module, Any]:
    """The encoder and its tokenizer, from local safetensors, running no code of the folder's."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    # Plain matrix products: on short rows fused attention's backward is ten times slower on a
    # processor (docs/benchmarks.md), and on a GPU the rows are too short for it to matter.
    encoder = AutoModel.from_pretrained(
        folder, use_safetensors=True, attn_implementation="eager", dtype=torch.float32, **local
    )
    return encoder, AutoTokenizer.from_pretrained(folder, **local)


def start_head_from_means(
    head: nn.Linear, embeddings_ND: NDArray[np.float32], labels_N: NDArray[np.int64]
) -> None:
    """Each label's weights are the mean embedding of its rows, so that step 0 already knows."""
    means_LD = torch.zeros_like(head.weight)
    means_LD.index_add_(0, torch.from_numpy(labels_N), torch.from_numpy(embeddings_ND))
    with torch.no_grad():
        head.weight.copy_(HEAD_SCALE * F.normalize(means_LD, dim=-1))
        head.bias.zero_()


def prepare_method(model: TextClassifier, method: Method, lora_rank: int) -> None:
    """Freeze what the method leaves alone; for LoRA, wrap the encoder with adapters."""
    if method == "full":
        return
    model.encoder.requires_grad_(False)
    if method == "lora":
        four_bits.leave_out()
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=lora_rank, lora_alpha=2 * lora_rank, lora_dropout=0.0, target_modules="all-linear"
        )
        model.encoder = get_peft_model(model.encoder, config)  # type: ignore[arg-type]


def merge_adapters(model: TextClassifier) -> None:
    """Add LoRA's adapters into the weights, so that the tuned model is a plain encoder."""
    merge = getattr(model.encoder, "merge_and_unload", None)
    if merge is not None:
        model.encoder = merge()


@torch.inference_mode()
def embed_rows(
    encoder: nn.Module, tokens: TokenRows, device: str, dtype: torch.dtype
) -> NDArray[np.float32]:
    """Embeddings of all rows, shape (N, D), in their order."""
    encoder.eval()
    out: NDArray[np.float32] | None = None
    tokens_per_batch = TOKENS_PER_BATCH.get(device, _TOKENS_PER_BATCH_ELSEWHERE)
    for rows in in_order_of_length(tokens.lengths_N, tokens_per_batch):
        inputs = [part.to(device) for part in tokens.batch(rows)]
        with autocast(device, dtype):
            found = embed(encoder, *inputs).float().cpu().numpy()
        out = np.empty((len(tokens), found.shape[1]), dtype=np.float32) if out is None else out
        out[rows] = found
    assert out is not None, "no rows to embed"
    return out


@torch.inference_mode()
def logits_of_rows(
    model: TextClassifier, tokens: TokenRows, device: str, dtype: torch.dtype
) -> NDArray[np.float32]:
    """Logits of all rows, shape (N, L), in their order."""
    embeddings_ND = embed_rows(model.encoder, tokens, device, dtype)
    return model.head(torch.from_numpy(embeddings_ND).to(device)).cpu().numpy()


def autocast(device: str, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32)
