"""A tuned language model in use, as the recipe's `predict` and `reply` take it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.data.messages import Message
from labkit.errors import UsageError
from labkit.recipes.base import Prediction, Unanswered

if TYPE_CHECKING:
    from labkit.train.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """It answers as it was tuned: with the same system message."""

    folder: Path
    """Of the tuned model."""
    model: "LanguageModel"
    system: str
    max_answer_tokens: int

    @classmethod
    def load(cls, folder: Path, device: str) -> "Answerer":
        from labkit.train.language_model import load_model, read_card

        card = read_card(folder)
        return cls(
            folder=folder,
            model=load_model(folder, device),
            system=card.system,
            max_answer_tokens=card.max_answer_tokens,
        )

    def base(self) -> "Answerer":
        from labkit.train.language_model import base_of

        return replace(self, model=base_of(self.model, self.folder))

    def reply(self, talk: Sequence[Message], say: Callable[[str], bool] | None = None) -> str:
        system = [Message(role="system", content=self.system)] if self.system else []
        return self.model.answer([*system, *talk], self.max_answer_tokens, say)

    def predict(self, text: str) -> Prediction | Unanswered:
        try:
            answer = self.reply([Message(role="user", content=text.strip())])
        except UsageError as error:
            return Unanswered(text=text, reason=str(error))
        return Prediction(text=text, label=answer, confidence=None, unsure=False)
