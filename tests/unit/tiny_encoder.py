"""A random BERT of two thin layers with a word-piece tokenizer, for tests of training."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from labkit.train.tuning import LabelledTexts

WORDS = {"bin": "full late tip lid", "lamp": "dark dim bulb light", "road": "hole crack mud edge"}
"""Labels, each with the words of its texts."""
LABELS = list(WORDS)
UNUSED = 40
"""Words of the vocabulary that no text has."""
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def save_tiny_encoder(folder: Path) -> Path:
    """A model folder as transformers saves it: config, safetensors, tokenizer."""
    words = [word for words in WORDS.values() for word in words.split()]
    vocabulary = [*_SPECIAL, *words, *(f"unused{n}" for n in range(UNUSED))]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    pieces = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(vocab=pieces, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    return folder


def made_up_rows(count: int, seed: int = 0) -> LabelledTexts:
    """Texts of 2 to 7 words, each with one label's words only."""
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(len(LABELS), size=count)
    texts = [
        " ".join(rng.choice(WORDS[LABELS[label]].split(), size=rng.integers(2, 8)))
        for label in labels_N
    ]
    return LabelledTexts(texts=texts, labels_N=labels_N)
