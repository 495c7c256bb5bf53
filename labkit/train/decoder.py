"""A decoder of transformers: its loading, adapters, and its pass over packed rows."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from labkit.errors import LabkitError, UsageError
from labkit.importing import importing
from labkit.models.plain_weights import require_plain_weights
from labkit.train import four_bits
from labkit.train.packing import Row

Method = Literal["lora", "qlora", "full"]

ALL_LINEAR = "all-linear"
_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@importing()
def load_decoder(
    folder: Path, dtype: torch.dtype, four_bits_on: str | None = None
) -> tuple[Any, Any]:
    """A causal language model and its tokenizer, from local safetensors; no code of theirs runs.

    With the name of a device, it comes there with its linear layers but the last in 4 bits, to
    compute in `dtype`. Raises LabkitError where the folder is not whole, of an architecture that
    is not known or of quantised weights, and where the device cannot hold 4 bits.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    quantised = {} if four_bits_on is None else four_bits.load_options(four_bits_on, dtype)
    try:
        require_plain_weights(folder, _config(folder))
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, dtype=dtype, attn_implementation="sdpa",
            output_loading_info=True, **_LOCAL, **quantised,
        )  # fmt: skip
        model, loading = loaded
        tokenizer = load_tokenizer(folder)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise LabkitError(
            f"The model in {folder} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    if missing := sorted(loading["missing_keys"]):
        raise LabkitError(
            f"The model in {folder} lacks weights, as {missing[0]}. Get its files anew."
        )
    if quantised:
        four_bits.keep_one_layout(model)
    return model, tokenizer


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, **_LOCAL)


def weights_dtype(method: Method, dtype: torch.dtype) -> torch.dtype:
    """The number format of a base model that is tuned by that method, computed in `dtype`."""
    # What is frozen needs no more digits than are computed with.
    return torch.float32 if method == "full" else dtype


def stored_dtype(folder: Path) -> torch.dtype:
    """The number format that the folder's weights are kept in; float32 where it does not say."""
    config = _config(folder)
    named = config.get("dtype") or config.get("torch_dtype") or "float32"
    found = getattr(torch, str(named), torch.float32)
    return found if isinstance(found, torch.dtype) else torch.float32


def _config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def add_adapters(model: Any, rank: int, targets: str) -> Any:
    """The model wrapped by peft, with only its new adapters to train; scaled by alpha = 2 × rank.

    `targets` are the names of linear layers with commas between, or 'all-linear', which leaves
    the output layer out. Raises UsageError for names that the model does not have.
    """
    four_bits.leave_out()
    from peft import LoraConfig, get_peft_model

    named = [name.strip() for name in targets.split(",") if name.strip()]
    linear = sorted({
        name.rpartition(".")[2] for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not model.get_output_embeddings()
    })  # fmt: skip
    unknown = [name for name in named if name not in linear]
    if named != [ALL_LINEAR] and (unknown or not named):
        raise UsageError(
            f"The model has no linear layer {', '.join(map(repr, unknown or ['']))} for "
            f"lora_targets. It has {', '.join(map(repr, linear))}; {ALL_LINEAR!r} means all."
        )
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=ALL_LINEAR if named == [ALL_LINEAR] else named,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


@contextmanager
def attending_by(model: Any, implementation: str) -> Iterator[None]:
    """Let a model of transformers attend so for a while, as `set_attn_implementation` names it."""
    before = model.config._attn_implementation
    model.set_attn_implementation(implementation)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def states_of(model: Any, row: Row) -> Tensor:
    """The decoder's last states where the next token is learnt, shape (P, D).

    `model` is the causal language model itself, with or without adapters in its layers.
    """
    out = model.get_decoder()(
        input_ids=row.ids_T[None],
        position_ids=row.positions_T[None],
        use_cache=False,
        bounds=row.bounds,
        max_length=row.max_length,
    )
    return out.last_hidden_state[0, row.learnt_P]
