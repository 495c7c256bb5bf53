"""Conversations, as the recipe for instructions takes them, out of a table of a person's.

A row is a question with its answer, or a whole conversation as JSON. `read_conversations`
leaves out what no model can learn from, and says which rows and why.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from labkit.data.examples import are_blank, is_blank
from labkit.data.findings import Finding, count, warning
from labkit.data.load import Table
from labkit.data.messages import ROLES, Message
from labkit.data.parts import load_parts, save_parts


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where a table has what a conversation is made of."""

    question: str
    answer: str
    input: str | None = None
    """What the question is about; it is put below it where it is not blank."""
    messages: str | None = None
    """Whole conversations as JSON; then the others are not read."""
    system: str = ""
    """No column: what every conversation begins with that has no such message of its own."""

    @property
    def by_role(self) -> dict[str, str]:
        """The columns that are read, by what they are for."""
        if self.messages:
            return {"messages": self.messages}
        found = {"question": self.question, "answer": self.answer}
        return found | ({"input": self.input} if self.input else {})


@dataclass(frozen=True, kw_only=True)
class Conversations:
    """Usable rows. The two lists have the same length."""

    messages: Sequence[Sequence[Message]]
    rows: Sequence[int]
    """The row numbers in the person's file."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indexes: Iterable[int]) -> "Conversations":
        chosen = list(indexes)
        return Conversations(
            messages=[self.messages[n] for n in chosen], rows=[self.rows[n] for n in chosen]
        )

    @property
    def prompts(self) -> list[str]:
        """What stands before each one's first answer."""
        return [_prompt(messages) for messages in self.messages]

    @property
    def questions(self) -> list[str]:
        """What people say before each one's first answer; equal ones belong into one part.

        Not the system message: a row stays in its part whatever that becomes.
        """
        return [_prompt([m for m in messages if m["role"] != "system"])
                for messages in self.messages]  # fmt: skip

    @property
    def answers(self) -> list[str]:
        """Each one's first answer."""
        return [next(m["content"] for m in messages if m["role"] == "assistant")
                for messages in self.messages]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ConversationParts:
    """Conversations inside a run folder: checked, cut into parts, no longer the person's file."""

    train: Conversations
    validation: Conversations
    """For early stopping and for choosing settings."""
    held_out: Conversations
    """Read once, at the end."""

    def save(self, folder: Path) -> None:
        """Write the parts into the folder as Parquet, mode 0600."""
        save_parts(folder, {name: _frame(part) for name, part in vars(self).items()})

    @classmethod
    def load(cls, folder: Path) -> "ConversationParts":
        return cls(**{name: _conversations(frame) for name, frame in load_parts(folder).items()})


def read_conversations(table: Table, columns: Columns) -> tuple[Conversations, list[Finding]]:
    """The rows that can be learnt from, and a finding for each reason why others cannot.

    The columns exist: see `labkit.data.check.check_columns`.
    """
    left_out: dict[str, list[int]] = defaultdict(list)
    usable: list[Sequence[Message]] = []
    rows: list[int] = []
    written = list(_written(table, columns))
    blank = _blank_texts(found for _, found in written if not isinstance(found, str))
    for row, found in written:
        if reason := found if isinstance(found, str) else _fault(found, blank):
            left_out[reason].append(row)
        else:
            usable.append(found)  # type: ignore[arg-type]
            rows.append(row)
    findings = [
        warning(code, f"{count(len(left_out[code]), 'row')} left out: {what}.",
                rows=left_out[code], fix=fix)
        for code, (what, fix) in _FAULTS.items() if code in left_out
    ]  # fmt: skip
    return Conversations(messages=usable, rows=rows), findings


def asked(frame: pl.DataFrame, question: str, input: str | None) -> list[str]:
    """What is asked in each row: the question, and below it what it is about.

    One of them that is blank is left out.
    """
    columns = [question, input] if input else [question]
    seen = frame.select(
        pl.when(~is_blank(column)).then(pl.col(column)).alias(str(n))
        for n, column in enumerate(columns)
    )
    return ["\n\n".join(cell.strip() for cell in row if cell) for row in seen.iter_rows()]


_FAULTS = {
    "blank-question": ("no question", "Fill in the question, or remove the rows."),
    "blank-answer": ("no answer", "Fill in the answer, or remove the rows."),
    "broken-messages": (
        "no list of messages",
        'Write each conversation as [{"role": "user", "content": "…"}, '
        '{"role": "assistant", "content": "…"}].',
    ),
    "unknown-role": (
        f"a message of a role other than {', '.join(ROLES)}",
        "Name the roles so, or remove the rows.",
    ),
    "system-not-first": (
        "a system message that is not the first, or a second one",
        "Keep one system message, as the first.",
    ),
    "answer-first": (
        "an answer before any question",
        "Begin with the question, or with a system message.",
    ),
}
"""Why a row cannot be learnt from: what is wrong, and what to do."""


def _written(table: Table, columns: Columns) -> Iterable[tuple[int, list[Message] | str]]:
    """Each row's messages with their system message, or the code of what is wrong with all."""
    if columns.messages:
        for row, cell in zip(table.row_numbers, table.frame[columns.messages], strict=True):
            found = _parse(cell)
            yield row, found if isinstance(found, str) else _with_system(found, columns.system)
        return
    questions = asked(table.frame, columns.question, columns.input)
    answers = table.frame[columns.answer]
    for row, question, answer in zip(table.row_numbers, questions, answers, strict=True):
        messages = [
            Message(role="user", content=question),
            Message(role="assistant", content=answer.strip()),
        ]
        yield row, _with_system(messages, columns.system)


def _parse(cell: str) -> list[Message] | str:
    try:
        found: Any = json.loads(cell)
    except (ValueError, RecursionError):
        return "broken-messages"
    if not isinstance(found, list) or not found or not all(map(_is_message, found)):
        return "broken-messages"
    return [Message(role=m["role"], content=m["content"]) for m in found]


def _is_message(found: Any) -> bool:
    return isinstance(found, dict) and all(
        isinstance(found.get(key), str) and _is_text(found[key]) for key in ("role", "content")
    )


def _is_text(found: str) -> bool:
    """Whether UTF-8 can hold it; JSON may write half of a sign, as in an emoji that was cut."""
    try:
        found.encode()
    except UnicodeEncodeError:
        return False
    return True


def _with_system(messages: list[Message], system: str) -> list[Message]:
    if not system or messages[0]["role"] == "system":
        return messages
    return [Message(role="system", content=system), *messages]


def _blank_texts(conversations: Iterable[Sequence[Message]]) -> Collection[str]:
    """Of all texts in them those in which nothing can be seen."""
    texts = sorted({message["content"] for messages in conversations for message in messages})
    return {text for text, blank in zip(texts, are_blank(texts), strict=True) if blank}


def _fault(messages: Sequence[Message], blank: Collection[str]) -> str | None:
    roles = [message["role"] for message in messages]
    if not set(roles) <= set(ROLES):
        return "unknown-role"
    if "system" in roles[1:]:
        return "system-not-first"
    if not _all_seen(messages, "user", blank):
        return "blank-question"
    if not _all_seen(messages, "assistant", blank):
        return "blank-answer"
    return "answer-first" if roles[0] == "assistant" else None


def _all_seen(messages: Sequence[Message], role: str, blank: Collection[str]) -> bool:
    """Whether there are messages of that role, and something can be seen in each."""
    said = [message["content"] for message in messages if message["role"] == role]
    return bool(said) and not any(text in blank for text in said)


def _prompt(messages: Sequence[Message]) -> str:
    first = next(n for n, message in enumerate(messages) if message["role"] == "assistant")
    return "\n".join(message["content"] for message in messages[:first])


def _frame(part: Conversations) -> pl.DataFrame:
    written = [json.dumps(messages, ensure_ascii=False) for messages in part.messages]
    return pl.DataFrame(
        {"messages": written, "row": part.rows}, schema={"messages": pl.String, "row": pl.Int64}
    )


def _conversations(frame: pl.DataFrame) -> Conversations:
    return Conversations(
        messages=[json.loads(cell) for cell in frame["messages"]], rows=frame["row"].to_list()
    )
