"""The trainings that are measured: the toy on labkit's own functions, models of real sizes.

The latter have random weights and learn numbers drawn at random, so that they need no file.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labkit.data.messages import Message
from labkit.train.chat import Chat, Seen
from labkit.train.decoder import Method, load_decoder, load_tokenizer, weights_dtype
from labkit.train.loop import LoopSettings
from labkit.train.precision import training_dtype
from labkit.train.talks import Talks, read_part
from tests.bench.llm_meter import Job

ROOT = Path(__file__).parents[2]
PACKAGES = ("labkit", "spawners", "widgets")
MAX_TOKENS, ROW_TOKENS = 1024, 4096
"""The defaults of the recipe `instruct`; 1024 is TRL's, too."""
BATCH_SIZE = 8
"""The default of transformers, and so of TRL."""
TOY_STEPS = 60
"""How far the toy is pre-trained: it need not speak, only be able to learn."""
RATES: Mapping[Method, float] = {"full": 1e-3, "lora": 8e-3}


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model with random weights, and what it is tuned with."""

    method: Method
    shape: Mapping[str, Any]
    """As transformers' LlamaConfig names it."""
    length: int
    """Tokens of each example, which is a row."""
    batch_size: int = 4
    num_warm_up: int = 2
    """Steps whose time is not counted."""
    learning_rate: float = 1e-3
    goal: float | None = None
    """Tokens a second of labkit on one H200."""


SIZES = {
    "8b": Size(
        method="lora",
        shape={"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
               "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256},
        length=4096,
        goal=15_500,
    ),
    "1b": Size(
        method="full",
        shape={"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
               "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256,
               "tie_word_embeddings": True},
        length=4096,
        learning_rate=1e-4,
        goal=62_500,
    ),
    "tiny": Size(
        method="lora",
        shape={"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 3,
               "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1024},
        length=128,
    ),
}  # fmt: skip


def made_toy(folder: Path) -> Path:
    """The demo's toy language model, hardly trained."""
    from labkit.demo.toy_model import make_toy

    make_toy(folder, num_steps=TOY_STEPS)
    return folder


def job_of_toy(base: Path, method: Method, num_examples: int, num_held_out: int = 48) -> Job:
    """To learn what labkit's functions are, as the recipe `instruct` would."""
    examples = talks_about_sources(base, MAX_TOKENS)
    order = np.random.default_rng(0).permutation(len(examples))[: num_examples + num_held_out]
    drawn = [examples[n] for n in order]
    dtype = training_dtype("cpu")
    return Job(
        build=lambda: load_decoder(base, weights_dtype(method, dtype))[0],
        method=method,
        examples=drawn[num_held_out:],
        held_out=drawn[:num_held_out],
        max_tokens=MAX_TOKENS,
        row_tokens=ROW_TOKENS,
        loop=LoopSettings(
            num_epochs=1,
            batch_size=BATCH_SIZE,
            learning_rate=RATES[method],
            head_learning_rate=RATES[method],
            dtype=dtype,
        ),
        num_warm_up=2,
    )


def job_of_size(size: Size, device: str, method: Method | None, num_steps: int) -> Job:
    """So many steps of its training, by its own method where none is given."""
    method = method or size.method
    dtype = training_dtype(device)
    num_rows = size.batch_size * num_steps
    rows = random_rows(num_rows + 2, size.length, size.shape["vocab_size"], seed=0)
    return Job(
        build=partial(random_model, size, device, weights_dtype(method, dtype)),
        method=method,
        examples=rows[2:],
        held_out=rows[:2],
        max_tokens=size.length,
        row_tokens=size.length,
        loop=LoopSettings(
            num_epochs=1,
            batch_size=size.batch_size,
            learning_rate=size.learning_rate,
            head_learning_rate=size.learning_rate,
            device=device,
            dtype=dtype,
        ),
        num_warm_up=size.batch_size * size.num_warm_up,
    )


def random_model(size: Size, device: str, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import AutoConfig

    config = AutoConfig.for_model("llama", max_position_embeddings=size.length, **size.shape)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def talks_about_sources(base: Path, max_tokens: int) -> Sequence[Seen]:
    """A question and an answer for each documented function and class: its docstring, its source.

    Their lengths are as uneven as people's: most are short, a few are cut at `max_tokens`.
    """
    tokenizer = load_tokenizer(base)
    messages = [
        [Message(role="user", content=question), Message(role="assistant", content=answer)]
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
        for question, answer in documented(file.read_text(encoding="utf-8"))
    ]
    chat = Chat(tokenizer=tokenizer, template=tokenizer.chat_template, max_tokens=max_tokens)
    part = Talks(messages=messages, rows=range(len(messages)))
    return read_part(chat, part).examples


def documented(source: str) -> Iterator[tuple[str, str]]:
    """The docstring and the source of each function and class that has one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            docstring, text = ast.get_docstring(node), ast.get_source_segment(source, node)
            if docstring and text:
                yield docstring, text


def random_rows(num_rows: int, length: int, vocabulary: int, seed: int) -> Sequence[Seen]:
    """Rows of equal length, every token to be learnt, as frequent as words are (Zipf's law)."""
    rng = np.random.default_rng(seed)
    shares_V = 1 / np.arange(1, vocabulary + 1)
    ids_NT = rng.choice(vocabulary, size=(num_rows, length), p=shares_V / shares_V.sum())
    return [
        Seen(
            row=n,
            text="",
            learnt_spans=[],
            ids_T=ids_T.astype(np.int32),
            learnt_T=np.ones(length, dtype=np.bool_),
            cut_at=0,
            max_tokens=length,
        )
        for n, ids_T in enumerate(ids_NT)
    ]
