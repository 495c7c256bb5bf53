"""`labkit run predict`: a tuned model's answers to sentences, or to a whole table."""

from pathlib import Path
from typing import Any

from labkit.cli import show
from labkit.cli.output import print_json, print_table, say
from labkit.cli.safe_text import on_one_line
from labkit.data.answers import answered_table, are_blank, write_table
from labkit.data.check import check_columns
from labkit.data.findings import count
from labkit.data.load import load_table
from labkit.errors import UsageError
from labkit.recipes import RECIPES
from labkit.recipes.base import Prediction
from labkit.runs.folder import Run

MAX_TEXT_SHOWN = 60


def sentences(run: Run, texts: list[str], *, as_json: bool) -> None:
    """Print an answer for each sentence. Raises UsageError for a blank one."""
    if any(are_blank(texts)):
        raise UsageError("A sentence is blank; there is nothing to answer.")
    predictions = _predict(run, texts)
    if as_json:
        print_json([vars(prediction) for prediction in predictions])
        return
    rows = [
        (on_one_line(p.text, MAX_TEXT_SHOWN), p.label, f"{p.confidence:.0%}",
         "unsure" if p.unsure else "")
        for p in predictions
    ]  # fmt: skip
    print_table(["text", "answer", "confidence", ""], rows)


def table(run: Run, data: Path, out: Path, text: str | None, *, as_json: bool) -> None:
    """Write the table with the columns answer, confidence and unsure added.

    A row without a text gets no answer, and is counted.
    """
    loaded = load_table(data)
    column = text or getattr(run.spec().settings, "text", "text")
    check_columns(loaded, {"text": column})
    texts = loaded.frame[column].to_list()
    asked = [n for n, blank in enumerate(are_blank(texts)) if not blank]
    answers: list[Prediction | None] = [None] * len(texts)
    for n, answer in zip(asked, _predict(run, [texts[n] for n in asked]), strict=True):
        answers[n] = answer
    write_table(answered_table(loaded.frame, answers), out)
    unsure = sum(answer.unsure for answer in answers if answer)
    blank = len(texts) - len(asked)
    if as_json:
        found = [finding.to_dict() for finding in loaded.findings]
        print_json({"rows": len(texts), "unsure": unsure, "blank": blank, "out": str(out),
                    "findings": found})  # fmt: skip
        return
    show.findings(loaded.findings, to_stderr=True)
    left = f" {count(blank, 'row')} without a text left unanswered." if blank else ""
    say(f"Answered {count(len(asked), 'row')} into {out}; {unsure} of them unsure.{left}")


def _predict(run: Run, texts: list[str]) -> list[Prediction]:
    if not texts:
        return []
    recipe = RECIPES.load(run.spec().recipe)
    model: Any = recipe.load(run.model_folder(), "cpu")
    return list(recipe.predict(model, texts))
