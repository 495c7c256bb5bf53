"""The talk on a run's page: what was said, told while it is written."""

import time
from typing import Any

from labkit.errors import LabkitError
from labkit.runs.predict import TunedModel
from labkit.runs.talk import ALONE, BESIDE, Talk, Turn, Voice
from labkit_widgets.background import Background

TELL_EVERY_S = 0.25
SHOWN = 20
"""The newest turns; the model remembers all."""


class TalkBox:
    """Asked by the page, answered in the background."""

    def __init__(self, model: TunedModel, background: Background):
        self._model, self._background = model, background
        self._talk = Talk(model)
        self._base = model.run.spec().base
        self._beside = False
        self._answering: Turn | None = None
        """The turn that is to be heard to its end."""
        self._told_at = 0.0

    def say(self, text: str) -> None:
        """Raises LabkitError while it answers, and UsageError for a blank question."""
        if self._answers:
            raise LabkitError("It is still answering. Wait for its end, or press Stop.")
        turn = self._talk.begin(text, BESIDE if self._beside else ALONE)
        self._answering = turn

        def heard(voice: Voice, piece: str) -> bool:
            self._tell_at_times()
            return self._answering is turn

        words = "Answering …" if self._model.is_loaded else "Loading the model, once …"
        self._background.run("talk", words, lambda: self._talk.answer(turn, heard), _done)

    def hush(self) -> None:
        self._answering = None

    def anew(self) -> None:
        self.hush()
        self._background.forget("talk")
        self._talk.anew()

    def let_base_answer(self, on: bool) -> None:
        self._beside = on

    def view(self) -> dict[str, Any]:
        turns = list(enumerate(self._talk.turns))
        return {
            "turns": [self._turn(n, turn) for n, turn in turns[-SHOWN:]],
            "beside": self._beside,
            "base": self._base,
        }

    @property
    def _answers(self) -> bool:
        return "talk" in self._background.doing()

    def _tell_at_times(self) -> None:
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            self._background.tell()

    def _turn(self, number: int, turn: Turn) -> dict[str, Any]:
        newest = number == len(self._talk.turns) - 1
        names: dict[Voice, str] = {"tuned": "Your model", "base": f"Its base, {self._base}"}
        return {
            "key": number,
            "question": turn.question,
            "answers": [
                {"name": names[voice], "text": text, "ended": voice in turn.ended}
                for voice, text in turn.answers.items()
            ],
            "goes_on": newest and self._answers,
            "problem": turn.problem,
        }


def _done(_: None) -> None:
    """The turn has it all."""
