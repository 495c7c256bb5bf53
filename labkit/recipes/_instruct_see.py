"""Rows of a person's table as a language model would see them, before anything is tuned."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from labkit.recipes.base import Look, RowLook
from labkit.train.chat import Chat, Messages, Refused
from labkit.train.talks import Talks, read_part

if TYPE_CHECKING:
    from labkit.data.conversations import Conversations
    from labkit.data.findings import Finding


def see_rows(
    chat: Chat,
    rows: Sequence[int],
    found: "Conversations",
    findings: "Sequence[Finding]",
    file: str,
) -> list[RowLook]:
    """Each of those rows; `findings` say why a row of the file is not usable."""
    known = dict(zip(found.rows, found.messages, strict=True))
    return [
        _seen(chat, row, known[row]) if row in known else _unusable(row, findings, file)
        for row in rows
    ]


def _unusable(row: int, findings: "Sequence[Finding]", file: str) -> RowLook:
    why = [f" {one.message}" for one in findings if row in one.rows]
    return RowLook(row=row, looks=[], note=f"{file} has no usable row {row}.{''.join(why)}")


def _seen(chat: Chat, row: int, messages: Messages) -> RowLook:
    refused: list[Refused] = []
    read = read_part(chat, Talks(messages=[messages], rows=[row]))
    is_learnt = bool(read.examples)
    looks = [
        Look(
            text=seen.text,
            learnt=seen.learnt_spans if is_learnt else [],
            cut_at=seen.cut_at,
            num_tokens=len(seen.ids_T),
            num_learnt=seen.num_learnt if is_learnt else 0,
            num_cut=seen.num_cut,
        )
        for seen in chat.see([messages], [row], refused)
    ]
    notes = refused or read.notes("learnt")
    return RowLook(row=row, looks=looks, note=" ".join(map(str, notes)))
