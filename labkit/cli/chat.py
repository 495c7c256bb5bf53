"""`labkit run chat`: a talk with a tuned language model, its answers as they are written."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from labkit.cli.output import say
from labkit.runs.folder import Run
from labkit.runs.predict import TunedModel
from labkit.runs.talk import ALONE, BESIDE, Talk, Turn, Voice

_NAMES: dict[Voice, str] = {"tuned": "your model", "base": "its base"}


def talk(run: Run, *, base: bool) -> None:
    """Answer each line of the input, until it ends. An empty one begins anew.

    Raises LabkitError where the run has no model yet, or one that does not converse.
    """
    model = TunedModel(run)
    talk = Talk(model)
    if sys.stdin.isatty():
        say("Loading the model …", to_stderr=True)
    _ = model.loaded
    if sys.stdin.isatty():
        say("Ask. Ctrl-C ends an answer, an empty line the talk's memory, Ctrl-D the talk.",
            to_stderr=True)  # fmt: skip
    while (asked := _line()) is not None:
        if not asked.strip():
            talk.anew()
            say("Forgotten. Begin anew.", to_stderr=True)
            continue
        turn = talk.begin(asked, BESIDE if base else ALONE)
        with _interrupted() as ended:
            _answer(talk, turn, ended)


def _line() -> str | None:
    """None at the input's end."""
    while True:
        if sys.stdin.isatty():
            say("> ", style="bold", end="")
        try:
            return input()
        except EOFError:
            return None
        except KeyboardInterrupt:  # for an answer that had just ended
            say("")


def _answer(talk: Talk, turn: Turn, ended: Callable[[], bool]) -> None:
    speaking: list[Voice] = []

    def heard(voice: Voice, piece: str) -> bool:
        if voice not in speaking:
            _introduce(turn, voice, first=not speaking)
            speaking.append(voice)
        say(piece, end="")
        return not ended()

    talk.answer(turn, heard)
    for voice in turn.ended - set(speaking):
        _introduce(turn, voice, first=not speaking)
        say("no words", style="italic", end="")
    if turn.ended:
        say("")
    if turn.problem:
        say(turn.problem, mark="!", style="yellow", to_stderr=True)


def _introduce(turn: Turn, voice: Voice, *, first: bool) -> None:
    """Whose words follow, where several answer."""
    if not first:
        say("")
    if len(turn.answers) > 1:
        say(f"{_NAMES[voice]}: ", style="bold", end="")


@contextmanager
def _interrupted() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed meanwhile, which ends nothing else."""
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda signum, _: pressed.append(signum))
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
