"""A part of a person's conversations in tokens, and what of it does not fit or is left out."""

from collections.abc import Sequence
from dataclasses import dataclass

from labkit.data.findings import listed_rows
from labkit.errors import LabkitError
from labkit.train.chat import Chat, Messages, Refused, Seen


@dataclass(frozen=True, kw_only=True)
class Talks:
    """Conversations, with their row numbers in the person's file."""

    messages: Sequence[Messages]
    rows: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Read:
    """A part as the model sees it: what can be learnt from, and what was cut or left out."""

    examples: Sequence[Seen]
    cut: Sequence[int]
    """The rows whose answers do not fit whole; their ends are not learnt."""
    too_long: Sequence[int]
    """The rows that have nothing to learn within so many tokens; they are left out."""
    control: Sequence[int]
    """The rows with a token of the template's in their own text; they are left out."""
    refused: Sequence[Refused]
    """The rows that the template cannot write; they are left out."""
    max_tokens: int

    def notes(self, done: str) -> list[str]:
        """What is cut or left out, in sentences; `done` is what is done with the part."""
        notes = []
        if self.cut:
            notes.append(
                f"The answers of {listed_rows(self.cut)} do not end within {self.max_tokens} "
                f"tokens; what comes later was not {done}. Raise max_tokens, or shorten them."
            )
        if self.too_long:
            notes.append(
                f"The answers of {listed_rows(self.too_long)} do not even begin within "
                f"{self.max_tokens} tokens; they were not {done}. Raise max_tokens, or shorten "
                "the questions."
            )
        if self.control:
            notes.append(
                f"The text of {listed_rows(self.control)} has a token in it with which the "
                f"template tells who speaks; it was not {done}. Take it out of the text."
            )
        if self.refused:
            rows = listed_rows([one.row for one in self.refused if one.row is not None])
            notes.append(f"Of {rows} nothing was {done}. {self.refused[0]}")
        return notes

    def check(self, name: str) -> None:
        """Raises LabkitError where nothing is left, and says why; `name` is that of the part."""
        if self.examples:
            return
        notes = self.notes(_DONE[name])
        if not notes:
            raise LabkitError(
                f"The {name} part has no row. Add rows with other questions, or raise its share."
            )
        raise LabkitError(f"Nothing is left of the {name} part. {' '.join(notes)}")


_DONE = {"training": "learnt", "validation": "measured", "held-out": "measured"}
"""What is done with each part."""


def read_part(chat: Chat, part: Talks) -> Read:
    """That part in tokens, without the rows that cannot be learnt from."""
    control = {
        row
        for messages, row in zip(part.messages, part.rows, strict=True)
        if chat.control_token(messages)
    }
    clean = [n for n, row in enumerate(part.rows) if row not in control]
    refused: list[Refused] = []
    seen = chat.see([part.messages[n] for n in clean], [part.rows[n] for n in clean], refused)
    usable = [one for one in seen if one.num_learnt]
    return Read(
        examples=usable,
        cut=sorted({one.row for one in usable if one.num_learnt_cut}),
        too_long=sorted({one.row for one in seen if not one.num_learnt}),
        control=sorted(control),
        refused=refused,
        max_tokens=chat.max_tokens,
    )
