"""The sides of the bench of language models: ours, padded, transformers' Trainer, TRL.

Importing it needs torch and transformers alone; who is not installed is told by `missing`.
"""

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from labkit.train.chat import Seen
from labkit.train.compiled import Blocks, why_not
from labkit.train.encoder import autocast
from labkit.train.language_loss import LanguageLoss
from labkit.train.token_loss import loss_sum
from tests.bench.llm_meter import Job, Train, causal_model
from tests.bench.trainings import fit_alone, trainer_arguments

_IGNORED = -100
"""A label that is not learnt, to torch and transformers."""
_NEEDED_BY_TRL = ("trl", "datasets")


def missing() -> str | None:
    """Why there are no lines of TRL; None where there are."""
    absent = [name for name in _NEEDED_BY_TRL if find_spec(name) is None]
    if not absent:
        return None
    return f"No lines of TRL: {' and '.join(absent)} of the extra 'bench' are not installed."


def train_ours(job: Job, model: Any) -> None:
    """As `labkit.train.instruct` does."""
    causal = causal_model(job, model)
    fit_alone(causal, LanguageLoss(causal, job.examples, job.loss), job.loop)


def train_compiled(job: Job, model: Any) -> None:
    """The same with compiled blocks, once they are: what that takes is not counted."""
    causal = causal_model(job, model)
    blocks = Blocks(causal, "always", _refuse)
    ours = LanguageLoss(causal, job.examples, job.loss, blocks=blocks)
    fit_alone(causal, ours, job.loop)


def _refuse(message: str) -> None:
    raise AssertionError(message)


def train_padded(job: Job, model: Any) -> None:
    """The same, but each batch as long as its longest example."""
    causal = causal_model(job, model)
    fit_alone(causal, PaddedLoss(causal, job.examples, job.loss), job.loop)


class PaddedLoss(LanguageLoss):
    """The same batches and the same loss by a pass of transformers over padded examples."""

    def __init__(self, model: Any, *given: Any):
        super().__init__(model, *given)
        model.set_attn_implementation("sdpa")

    def backward(self, batch: NDArray[np.int64]) -> Tensor:
        device, dtype = self.settings.device, self.settings.dtype
        inputs = {k: v.to(device) for k, v in padded([self.examples[n] for n in batch]).items()}
        targets_BT = inputs.pop("labels")[:, 1:]
        learnt_BT = targets_BT != _IGNORED
        with autocast(device, dtype):
            states_BTD = self.model.get_decoder()(**inputs, use_cache=False).last_hidden_state
            states_PD = states_BTD[:, :-1][learnt_BT].to(dtype)
            head = self.model.get_output_embeddings()
            loss = loss_sum(states_PD, head, targets_BT[learnt_BT]) / learnt_BT.sum()
        loss.backward()
        return loss.detach()


def padded(examples: Sequence[Seen]) -> dict[str, Tensor]:
    """Those examples as transformers' models take them, padded on the right."""
    rows = [_row(seen) for seen in examples]
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    labels = [torch.tensor(row["labels"]) for row in rows]
    return {
        "input_ids": pad_sequence(ids, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(one) for one in ids], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=_IGNORED),
    }


def train_by_trainer(job: Job, model: Any, **options: Any) -> None:
    """With transformers' Trainer; `options` are of its TrainingArguments."""
    from transformers import Trainer, TrainingArguments

    _train(
        job,
        Trainer,
        TrainingArguments,
        {"remove_unused_columns": False, **options},
        model=model,
        train_dataset=job.examples,
        data_collator=padded,
    )


def train_by_trl(job: Job, model: Any, **options: Any) -> None:
    """With TRL's SFTTrainer; `options` are of its SFTConfig."""
    trl, datasets = map(import_module, _NEEDED_BY_TRL)
    datasets.disable_progress_bars()
    _train(
        job,
        trl.SFTTrainer,
        trl.SFTConfig,
        {"max_length": job.max_tokens, **options},
        model=model,
        train_dataset=datasets.Dataset.from_list([_row(seen) for seen in job.examples]),
        processing_class=_tokenizer_of_nothing(),
    )


def _train(
    job: Job, trainer: Any, arguments: Any, options: Mapping[str, Any], **given: Any
) -> None:
    from transformers import PrinterCallback
    from transformers.utils import logging

    logging.set_verbosity_error()
    causal_model(job, given["model"]).set_attn_implementation("sdpa")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = trainer(args=arguments(**trainer_arguments(job.loop, folder, **options)), **given)
        made.remove_callback(PrinterCallback)
        made.train()


def on_a_processor(job: Job) -> dict[str, Train]:
    """The sides of `make bench`. TRL's tuned line takes a pack at a time: several at once attend to
    each other's places, masked, which is slower; so is no packing, grouped by length or not."""
    sides: dict[str, Train] = {"labkit": train_ours, "labkit, padded": train_padded}
    if not why_not():
        sides["labkit, compiled"] = train_compiled
    if missing():
        return sides
    tokens_a_step = job.num_tokens / job.num_steps
    tuned = {
        "packing": True,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": max(1, round(tokens_a_step / job.max_tokens)),
    }
    return {
        **sides,
        "TRL, packing, no recompute": partial(train_by_trl, **tuned),
        "TRL, its defaults": train_by_trl,
    }


def on_a_gpu(job: Job) -> dict[str, Train]:
    """The sides on a device: all compute one row at a time, so that it has the same to hold."""
    by_rows = {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": job.loop.batch_size,
    }
    sides: dict[str, Train] = {
        "labkit": train_ours,
        "labkit, compiled": train_compiled,
        "Trainer, tuned alike": partial(train_by_trainer, **by_rows),
        "Trainer, its defaults": partial(train_by_trainer, **by_rows, bf16=False),
    }
    if missing():
        return sides
    tuned = {**by_rows, "packing": True, "gradient_checkpointing": False}
    return {
        **sides,
        "TRL, packing, no recompute": partial(train_by_trl, **tuned),
        "TRL, its defaults": partial(train_by_trl, **by_rows),
    }


def _row(seen: Seen) -> dict[str, list[int]]:
    """Its tokens, and those of them to learn, as the peers' datasets have them."""
    ids_T = seen.ids_T[: seen.max_tokens]
    labels_T = np.where(seen.learnt_T[: seen.max_tokens], ids_T, _IGNORED)
    return {"input_ids": ids_T.tolist(), "labels": labels_T.tolist()}


def _tokenizer_of_nothing() -> Any:
    """SFTTrainer wants one, for its padding token, though all is in tokens already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    padding = "<|padding|>"
    words = Tokenizer(models.WordLevel(vocab={padding: 0}, unk_token=padding))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=padding, eos_token=padding)
