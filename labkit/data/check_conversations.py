"""The data doctor for conversations: what a person should know before anything is tuned on them.

`recipe.prepare` calls this. As `check` does for texts with labels, it changes nothing.
"""

from collections.abc import Mapping

import polars as pl

from labkit.data.check import MIN_ROWS
from labkit.data.conversations import ConversationParts, Conversations
from labkit.data.examples import normal_content
from labkit.data.findings import Finding, count, note, problem, warning
from labkit.data.load import Table

NAMES = {
    "messages": "messages conversations conversation 對話 对话",
    "question": "question instruction prompt query user 問題 问题 提問",
    "answer": "answer output response completion assistant 答案 回答 答覆",
    "input": "input context",
}
"""For each role, the names that its column often has."""
MAX_SHARE_ASKING = 0.5
"""More answers than that which end as questions do, and fewer such questions: swapped."""


def guess_conversation_columns(table: Table) -> Mapping[str, str]:
    """For each role the column whose name looks like it; a role without one is left out.

    Where there are whole conversations, nothing else is named.
    """
    by_name = {column.strip().lower(): column for column in table.frame.columns}
    found = {}
    for role, names in NAMES.items():
        if column := next((by_name[name] for name in names.split() if name in by_name), None):
            found[role] = column
    return {"messages": found["messages"]} if "messages" in found else found


def check_conversations(conversations: Conversations) -> list[Finding]:
    """All findings on the usable rows."""
    if len(conversations) < MIN_ROWS:
        message = f"{count(len(conversations), 'usable row')}; at least {MIN_ROWS} are needed."
        return [problem("too-few-rows", message, fix="Add rows with a question and an answer.")]
    frame = _frame(conversations)
    return [*_swapped(frame), *_several_answers(frame), *_repeated(frame)]


def check_parts(parts: ConversationParts, *, has_test: bool) -> list[Finding]:
    """Findings on the parts of enough rows: one that is empty, as where few questions differ."""
    shares = {"validation": "validation", "held_out": "held_out", "train": None}
    if has_test:  # `check_test_conversations` speaks of it
        del shares["held_out"]
    empty = [name for name in shares if not len(getattr(parts, name))]
    if not empty:
        return []
    asked = [question for name in shares for question in getattr(parts, name).questions]
    named = " and ".join(_PARTS[name] for name in empty)
    message = (
        f"{count(len(asked), 'row')} with {count(len(set(asked)), 'different question')}: "
        f"equal questions stay in one part, and none fell into the {named} part."
    )
    settings = [share for name in empty if (share := shares[name])]
    more = f", or raise the setting {' and '.join(settings)}" if settings else ""
    return [problem("empty-part", message, fix=f"Add rows with other questions{more}.")]


_PARTS = {"train": "training", "validation": "validation", "held_out": "held-out"}


def check_test_conversations(train: Conversations, heldout: Conversations) -> list[Finding]:
    """Findings on a test file of the person's: none usable, or questions seen in training."""
    if not len(heldout):
        message = "The test file has no usable row, so nothing can be measured."
        fix = "Add rows with a question and an answer, or leave the test file out."
        return [problem("empty-test", message, fix=fix)]
    seen = _frame(heldout).join(_frame(train), on="question", how="semi")
    if seen.is_empty():
        return []
    message = (
        f"{count(seen.height, 'row')} of the test file ask what the data asks that is learnt "
        "from, so the result will look better than it is."
    )
    fix = "Remove them from one of the two files."
    return [warning("question-in-both-files", message, rows=seen["row"], fix=fix)]


def _frame(conversations: Conversations) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "row": pl.Series(conversations.rows, dtype=pl.Int64),
            "question": normal_content(pl.Series(conversations.prompts, dtype=pl.String)),
            "answer": normal_content(pl.Series(conversations.answers, dtype=pl.String)),
        }
    )


def _swapped(frame: pl.DataFrame) -> list[Finding]:
    asks = [pl.col(c).str.strip_chars().str.contains(r"[?？]$").mean() for c in frame.columns[1:]]
    questions, answers = frame.select(*asks).row(0)
    if answers <= MAX_SHARE_ASKING or questions >= answers:
        return []
    message = (
        f"{answers:.0%} of the answers end with a question mark, and {questions:.0%} of the "
        "questions. Are the two columns swapped?"
    )
    fix = "Name the columns the other way round, with question and answer."
    return [warning("columns-swapped", message, fix=fix)]


def _several_answers(frame: pl.DataFrame) -> list[Finding]:
    answers = pl.col("answer").n_unique().over("question")
    torn = frame.filter(pl.col("question").is_duplicated()).filter(answers > 1)
    if torn.is_empty():
        return []
    message = (
        f"{count(torn['question'].n_unique(), 'question')} with more than one answer, in "
        f"{count(torn.height, 'row')}."
    )
    fix = "That is fine where all of them are right."
    return [note("several-answers", message, rows=torn["row"], fix=fix)]


def _repeated(frame: pl.DataFrame) -> list[Finding]:
    rows = frame.filter(~pl.struct("question", "answer").is_first_distinct())["row"]
    if rows.is_empty():
        return []
    message = f"{count(len(rows), 'row')} with the question and the answer of an earlier row."
    fix = "Nothing needs to be done: equal questions always stay in one part."
    return [note("duplicate-conversation", message, rows=rows, fix=fix)]
