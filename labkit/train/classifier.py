"""A tuned classifier, and its folder, which needs nothing but itself.

model/  config.json model.safetensors tokenizer.json …   the encoder, as transformers saves it
        head.safetensors  labkit.json                     the head; labels and temperature
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from labkit.errors import LabkitError
from labkit.train.checkpoint import require_room, save_tensors
from labkit.train.encoder import TextClassifier, load_encoder, logits_of_rows
from labkit.train.tokens import tokenize

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ClassifierCard:
    """What `labkit.json` in a model folder says."""

    format: int = FORMAT
    recipe: str
    labels: Sequence[str]
    max_tokens: int
    temperature: float
    """Logits are divided by it, so that confidence matches accuracy (Guo et al. 2017)."""
    unsure_below: float


def negative_log_likelihood(
    logits_NL: NDArray[np.float32], labels_N: NDArray[np.int64], temperature: float
) -> float:
    """Mean over rows, in nats."""
    log_shares_NL = log_softmax(logits_NL / temperature)
    return float(-log_shares_NL[np.arange(len(labels_N)), labels_N].mean())


def log_softmax(logits_NL: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted_NL = logits_NL - logits_NL.max(axis=1, keepdims=True)
    return shifted_NL - np.log(np.exp(shifted_NL).sum(axis=1, keepdims=True))


def best_temperature(logits_NL: NDArray[np.float32], labels_N: NDArray[np.int64]) -> float:
    """The temperature under which the validation rows are likeliest (Guo et al. 2017)."""
    candidates = np.geomspace(0.1, 10, 101)
    return float(
        min(candidates, key=lambda t: negative_log_likelihood(logits_NL, labels_N, float(t)))
    )


@dataclass(frozen=True)
class TunedClassifier:
    """A tuned model in memory."""

    model: TextClassifier
    tokenizer: Any
    card: ClassifierCard
    device: str
    dtype: torch.dtype = torch.float32

    def shares(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The confidence in each label for each text, shape (N, L); rows sum to 1."""
        tokens = tokenize(self.tokenizer, texts, self.card.max_tokens)
        logits_NL = logits_of_rows(self.model, tokens, self.device, self.dtype)
        return np.exp(log_softmax(logits_NL / self.card.temperature))

    def save(self, folder: Path) -> None:
        """Write the model folder, `labkit.json` last: where it is, the model is whole."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_room(folder, self.model.state_dict())
        self.model.encoder.save_pretrained(folder)  # type: ignore[operator]
        self.tokenizer.save_pretrained(folder)
        save_tensors(self.model.head.state_dict(), folder / "head.safetensors")
        for file in folder.iterdir():
            file.chmod(0o600)
        text = json.dumps(asdict(self.card), ensure_ascii=False, indent=1)
        (folder / "labkit.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, device: str) -> "TunedClassifier":
        """The model in that folder. Raises LabkitError where it is not whole."""
        try:
            known: Mapping[str, Any] = json.loads((folder / "labkit.json").read_text("utf-8"))
            card = ClassifierCard(**known)
            encoder, tokenizer = load_encoder(folder)
            model = TextClassifier(encoder, len(card.labels))
            model.head.load_state_dict(load_file(folder / "head.safetensors"))
        except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            raise LabkitError(
                f"The tuned model in {folder} is damaged: {str(error).splitlines()[0]}. "
                "Put its files back from a copy, or tune it again."
            ) from error
        return cls(model.to(device).eval(), tokenizer, card, device)
