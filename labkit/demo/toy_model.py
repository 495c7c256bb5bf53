"""A toy language model for the demo and for tests, made in about a minute on two cores.

A Llama of three million weights, pre-trained on labkit's own sources and the sample messages: all
of a run's way can be gone with it, and nothing of what it says means anything. It does not read the
sample questions, so that those which are held out are new to it.

`labkit models toy` calls this. Importing it loads no torch.
"""

import csv
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from labkit.errors import UsageError
from labkit.models.catalogue import BaseEntry, add_model, inspect_folder, list_models
from labkit.paths import private_folder

NAME = "toy"
TITLE = "Toy, 3 million weights: it shows the way, it knows nothing"
NUM_STEPS = 200
BATCH_SIZE, WINDOW_TOKENS = 8, 128
VOCABULARY = 4096
LEARNING_RATE, WARM_UP_STEPS = 3e-3, 20
SPECIAL = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{{ '<|end|>' if message.role == 'assistant' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 224,
    "intermediate_size": 608,
    "num_hidden_layers": 4,
    "num_attention_heads": 7,
    "num_key_value_heads": 7,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "pad_token_id": None,
}


@dataclass(frozen=True, kw_only=True)
class Made:
    """A toy that was made."""

    entry: BaseEntry
    first_loss: float
    """Of the first step, in nats a token."""
    loss: float
    """The mean of the last steps, in nats a token."""
    seconds: float


def add_toy(catalogue: Path, *, num_steps: int = NUM_STEPS) -> Made:
    """Make it and put it into the catalogue, in place of an older one.

    Raises UsageError where another model is called so.
    """
    folder = private_folder(catalogue) / NAME
    older = list_models(catalogue).entries.get(NAME)
    if older and older.path.resolve() != folder.resolve():
        raise UsageError(
            f"A base model is called {NAME!r} already; its weights are at {older.path}. "
            f"Remove {catalogue / NAME}.toml first if the toy shall take its place."
        )
    start = time.monotonic()
    half = private_folder(catalogue / f".{NAME}.half")
    try:
        losses = make_toy(half, num_steps=num_steps)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(half, folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    about = {"title": TITLE, "licence": "BSD-3-Clause", "languages": ["en", "zh-Hant"]}
    entry = inspect_folder(folder, name=NAME).model_copy(update=about)
    add_model(catalogue, entry)
    last = losses[-max(1, num_steps // 10) :]
    return Made(
        entry=entry,
        first_loss=losses[0],
        loss=sum(last) / len(last),
        seconds=time.monotonic() - start,
    )


def make_toy(folder: Path, *, num_steps: int) -> list[float]:
    """Train tokenizer and model, and save both into the folder; the loss of each step.

    The same versions and number of steps give the same model.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import AutoConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    texts = reading()
    tokenizer = _tokenizer(texts)
    ids_T = torch.tensor([i for ids in tokenizer(texts)["input_ids"] for i in ids])
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", eos_token_id=tokenizer.eos_token_id, **_SHAPE)
    model = AutoModelForCausalLM.from_config(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / WARM_UP_STEPS) * (1 - step / num_steps)
    )
    losses = []
    for _ in range(num_steps):
        starts_B = torch.randint(len(ids_T) - WINDOW_TOKENS, (BATCH_SIZE,))
        windows_BT = ids_T[starts_B[:, None] + torch.arange(WINDOW_TOKENS)]
        loss = model(input_ids=windows_BT, labels=windows_BT, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return losses


def reading() -> list[str]:
    """What it reads: labkit's sources, and the sample messages as conversations."""
    sources = [
        file.read_text("utf-8") + SPECIAL[0]
        for file in sorted(Path(__file__).parents[1].rglob("*.py"))
    ]
    with files("labkit.demo").joinpath("hotline.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    talks = [f"<|user|>{row['text']}<|assistant|>{row['category']}<|end|>" for row in rows]
    return [*sources, *talks, *talks]


def _tokenizer(texts: Sequence[str]) -> Any:
    """Byte-level BPE, as GPT-2's: any text has its tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL[0])
    made.add_special_tokens({"extra_special_tokens": list(SPECIAL[1:])})  # type: ignore[arg-type]
    made.chat_template = TEMPLATE  # type: ignore[assignment]
    return made
