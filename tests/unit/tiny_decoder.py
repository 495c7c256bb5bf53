"""Random decoders of two thin layers with a tokenizer of bytes, for tests of training.

A toy: it has learnt nothing, and after a tuning knows a handful of answers by heart.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import AutoConfig

from labkit.train.four_bits import import_without_fetching

import_without_fetching()  # one process of tests tunes by all methods

SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{{ '<|end|>' if m.role == 'assistant' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_THIN: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "pad_token_id": None,
    "eos_token_id": 256,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "mistral": {"sliding_window": 12},
    "gemma": {"head_dim": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 12},
    "phi": {},
    "phi3": {},
}
"""Each family with what sets it apart, such as a window that is shorter than the examples."""


def tiny_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """A token for each byte, and the special ones."""
    vocabulary = {sign: n for n, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL[0])
    made.add_special_tokens({"extra_special_tokens": SPECIAL[1:]})  # type: ignore[arg-type]
    made.chat_template = template  # type: ignore[assignment]
    return made


def tiny_decoder(family: str = "llama", seed: int = 0, **changes: Any) -> Any:
    """A random model of that family, in float32, with those changes to its shape."""
    torch.manual_seed(seed)
    size = 256 + len(SPECIAL)
    config = AutoConfig.for_model(
        family, vocab_size=size, **{**_THIN, **FAMILIES[family], **changes}
    )
    return AutoModelForCausalLM.from_config(config)


def save_tiny_decoder(
    folder: Path, family: str = "llama", template: str | None = TEMPLATE, **changes: Any
) -> Path:
    """A model folder as transformers saves it: config, safetensors, tokenizer, template."""
    tiny_decoder(family, **changes).save_pretrained(folder)
    tiny_tokenizer(template).save_pretrained(folder)
    return folder


def write_questions(file: Path, num_rows: int = 60) -> Path:
    """A table of questions and answers that a toy can learn: one answer for each colour."""
    answers = {"red": "stop", "green": "go", "blue": "swim"}
    lines = [
        f"{n}: what about {colour}?,{answer}"
        for n in range(num_rows)
        for colour, answer in [list(answers.items())[n % len(answers)]]
    ]
    file.write_text("\n".join(["question,answer", *lines]) + "\n", encoding="utf-8")
    return file
