"""`labkit run predict`: a tuned model's answers to sentences, or to a whole table."""

from pathlib import Path
from typing import Any

from labkit.cli.output import console, print_json
from labkit.cli.output import table as printed_table
from labkit.errors import UsageError
from labkit.recipes import RECIPES
from labkit.recipes.base import Prediction
from labkit.runs.folder import Run


def sentences(run: Run, texts: list[str], *, as_json: bool) -> None:
    """Print an answer for each sentence."""
    predictions = _predict(run, texts)
    if as_json:
        print_json([vars(prediction) for prediction in predictions])
        return
    rows = [
        (p.text, p.label, f"{p.confidence:.0%}", "unsure" if p.unsure else "") for p in predictions
    ]
    console().print(printed_table(["text", "answer", "confidence", ""], rows))


def table(run: Run, data: Path, out: Path | None, text: str | None, *, as_json: bool) -> None:
    """Write the table with the columns answer, confidence and unsure added."""
    from labkit.data.answers import answered_table, check_output, write_table
    from labkit.data.check import check_columns
    from labkit.data.load import load_table

    if out is None:
        raise UsageError("Name the file to write: --out labelled.csv")
    check_output(out, data)
    loaded = load_table(data)
    column = text or getattr(run.spec().settings, "text", "text")
    check_columns(loaded, {"text": column})
    texts = loaded.frame[column].fill_null("").to_list()
    predictions = _predict(run, texts)
    write_table(answered_table(loaded.frame, predictions), out)
    unsure = sum(prediction.unsure for prediction in predictions)
    summary = {"rows": len(predictions), "unsure": unsure, "out": str(out)}
    if as_json:
        print_json(summary)
    else:
        print(f"Answered {len(predictions)} rows into {out}; {unsure} of them are unsure.")


def _predict(run: Run, texts: list[str]) -> list[Prediction]:
    recipe = RECIPES.load(run.spec().recipe)
    model: Any = recipe.load(run.model_folder(), "cpu")
    return list(recipe.predict(model, texts))
