"""A conversation with a run's tuned model, and with its base beside it.

Each of the two remembers the questions that it was asked and its own answers, so that both may
be asked the same and answer as they would have by themselves. Nothing of it is kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from labkit.data.messages import Message
from labkit.errors import LabkitError, UsageError
from labkit.recipes.base import Converses
from labkit.runs.predict import TunedModel

Voice = Literal["tuned", "base"]
ALONE: Sequence[Voice] = ("tuned",)
BESIDE: Sequence[Voice] = ("tuned", "base")


@dataclass
class Turn:
    """A question, and what was answered to it so far."""

    question: str
    answers: dict[Voice, str]
    """Of each who is asked, '' at first."""
    ended: set[Voice] = field(default_factory=set)
    """Who has said all."""
    problem: str = ""
    """Why there is no answer, or no more of it."""
    before: Sequence["Turn"] = ()


class Talk:
    """Turn by turn; one thread at a time asks, others may look."""

    def __init__(self, model: TunedModel):
        """Raises UsageError where the run's model does not converse."""
        if not isinstance(model.recipe, Converses):
            raise UsageError(
                f"The model of {model.run.name} gives labels, it does not converse. Ask it with: "
                f'labkit run predict {model.run.run_id} "…"'
            )
        self._recipe, self._model = model.recipe, model
        self._base: Any = None
        self.turns: list[Turn] = []

    def begin(self, question: str, voices: Sequence[Voice]) -> Turn:
        """Raises UsageError for a blank question."""
        if not question.strip():
            raise UsageError("The question is blank; there is nothing to answer.")
        answers = dict.fromkeys(voices, "")
        turn = Turn(question=question.strip(), answers=answers, before=tuple(self.turns))
        self.turns.append(turn)
        return turn

    def answer(self, turn: Turn, heard: Callable[[Voice, str], bool]) -> None:
        """Let all who are asked answer, one after the other.

        `heard` is given each piece of an answer; where it returns False, all end. What one cannot
        answer is the turn's `problem`: it is not part of the talk then.
        """
        for voice in turn.answers:
            try:
                if not self._answered(turn, voice, heard):
                    return
            except LabkitError as error:
                turn.problem = str(error)
                return

    def anew(self) -> None:
        """Forget all that was said."""
        self.turns = []

    def _answered(self, turn: Turn, voice: Voice, heard: Callable[[Voice, str], bool]) -> bool:
        """Whether it said all that it wanted to."""
        goes_on = True

        def say(piece: str) -> bool:
            nonlocal goes_on
            turn.answers[voice] += piece
            goes_on = heard(voice, piece)
            return goes_on

        turn.answers[voice] = self._recipe.reply(self._voice(voice), self._said(turn, voice), say)
        turn.ended.add(voice)
        return goes_on

    def _voice(self, voice: Voice) -> Any:
        if voice == "tuned":
            return self._model.loaded
        if self._base is None:
            self._base = self._recipe.base_of(self._model.loaded)
        return self._base

    def _said(self, turn: Turn, voice: Voice) -> list[Message]:
        """Between the person and that one, up to this turn's question."""
        found: list[Message] = []
        for earlier in turn.before:
            if voice in earlier.ended:
                found += [Message(role="user", content=earlier.question),
                          Message(role="assistant", content=earlier.answers[voice])]  # fmt: skip
        return [*found, Message(role="user", content=turn.question)]
