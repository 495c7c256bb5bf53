"""A run's tuned model in use: answers to sentences, and to whole tables.

For every door: terminal, form and Python. It imports torch when it first answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from polars import DataFrame

from labkit.data.answers import answered_table, says_confidence, write_table
from labkit.data.check import check_columns
from labkit.data.examples import are_blank
from labkit.data.findings import Finding, listed, listed_rows
from labkit.data.load import load_table
from labkit.errors import UsageError
from labkit.recipes import RECIPES
from labkit.recipes.base import Prediction, ReadsColumns, Unanswered
from labkit.runs.folder import Run


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What became of a table that was answered."""

    rows: int
    blank: int
    """Rows without a text, which got no answer."""
    unsure: int | None
    """Answers that a person should look at; None where the model says no confidence."""
    unanswered: Sequence[int]
    """The numbers of the rows that the model could not answer."""
    reason: str
    """Why it could not answer the first of them."""
    findings: Sequence[Finding]
    """What was met while reading it."""

    @property
    def num_answered(self) -> int:
        return self.rows - self.blank - len(self.unanswered)

    @property
    def left_out(self) -> str:
        """Which rows could not be answered, and why; empty where all were."""
        if not self.unanswered:
            return ""
        first = f"Row {self.unanswered[0]}: " if len(self.unanswered) > 1 else ""
        return f"No answer for {listed_rows(self.unanswered)}. {first}{self.reason}"


class TunedModel:
    """The tuned model of a run, loaded once, when it is first asked."""

    def __init__(self, run: Run):
        self.run = run
        self.recipe = RECIPES.load(run.spec().recipe)

    @property
    def input_column(self) -> str:
        """The column of the person's own table that it learnt to answer."""
        return getattr(self.run.spec().settings, self.recipe.input_setting)

    @cached_property
    def loaded(self) -> Any:
        """As the recipe takes it. Raises LabkitError where the run has no model yet."""
        return self.recipe.load(self.run.model_folder(), "cpu")

    @property
    def is_loaded(self) -> bool:
        return "loaded" in vars(self)

    def answer(self, texts: Sequence[str]) -> list[Prediction]:
        """An answer for each text.

        Raises LabkitError where the run has no model yet, and UsageError for a text that the
        model cannot answer.
        """
        found = self._predict(texts)
        for text, answer in zip(texts, found, strict=True):
            if isinstance(answer, Unanswered):
                which = f"{listed([text])}: " if len(texts) > 1 else ""
                raise UsageError(f"{which}{answer.reason}")
        return [answer for answer in found if isinstance(answer, Prediction)]

    def _predict(self, texts: Sequence[str]) -> list[Prediction | Unanswered]:
        return list(self.recipe.predict(self.loaded, texts)) if texts else []

    def answer_sentences(self, texts: Sequence[str]) -> list[Prediction]:
        """As `answer`. Raises UsageError for a blank one."""
        if any(are_blank(texts)):
            raise UsageError("A sentence is blank; there is nothing to answer.")
        return self.answer(texts)

    def answer_table(self, data: Path, out: Path, text: str | None = None) -> Answered:
        """Write the table with answer, confidence and unsure added; `text` is its column.

        The caller has checked `out` with `labkit.data.answers.check_output`.
        """
        table = load_table(data)
        column = text or self.input_column
        check_columns(table, {"text": column})
        texts = self._texts(table.frame, column)
        asked = [n for n, blank in enumerate(are_blank(texts)) if not blank]
        answers: list[Prediction | None] = [None] * len(texts)
        unanswered: dict[int, str] = {}
        for n, answer in zip(asked, self._predict([texts[n] for n in asked]), strict=True):
            if isinstance(answer, Unanswered):
                unanswered[table.row_numbers[n]] = answer.reason
            else:
                answers[n] = answer
        write_table(answered_table(table.frame, answers), out)
        return Answered(
            rows=len(texts),
            blank=len(texts) - len(asked),
            unsure=sum(answer.unsure for answer in answers if answer)
            if says_confidence(answers)
            else None,
            unanswered=list(unanswered),
            reason=next(iter(unanswered.values()), ""),
            findings=table.findings,
        )

    def _texts(self, frame: DataFrame, column: str) -> list[str]:
        """What is to be answered in each row."""
        if isinstance(self.recipe, ReadsColumns):
            return self.recipe.texts(frame, column, self.run.spec().settings)
        return frame[column].to_list()
