"""`labkit run predict`: a tuned model's answers to sentences, or to a whole table."""

from pathlib import Path

from labkit.cli import show
from labkit.cli.output import print_json, print_table, say
from labkit.cli.safe_text import on_one_line
from labkit.data.answers import says_confidence
from labkit.data.findings import count
from labkit.runs.folder import Run
from labkit.runs.predict import TunedModel

MAX_TEXT_SHOWN = 60


def sentences(run: Run, texts: list[str], *, as_json: bool) -> None:
    """Print an answer for each sentence. Raises UsageError for a blank one."""
    predictions = TunedModel(run).answer_sentences(texts)
    if as_json:
        print_json([vars(prediction) for prediction in predictions])
        return
    if not says_confidence(predictions):
        for p in predictions:
            say(on_one_line(p.text, MAX_TEXT_SHOWN), style="bold")
            say(p.label)
        return
    rows = [
        (on_one_line(p.text, MAX_TEXT_SHOWN), p.label, show.percent(p.confidence),
         "unsure" if p.unsure else "")
        for p in predictions
    ]  # fmt: skip
    print_table(["text", "answer", "confidence", ""], rows)


def table(run: Run, data: Path, out: Path, text: str | None, *, as_json: bool) -> None:
    """Write the table with its answers in columns of their own.

    A row without a text gets no answer, and is counted; one that cannot be answered is named.
    """
    done = TunedModel(run).answer_table(data, out, text)
    if as_json:
        found = [finding.to_dict() for finding in done.findings]
        print_json({"rows": done.rows, "unsure": done.unsure, "blank": done.blank,
                    "unanswered": list(done.unanswered), "reason": done.reason,
                    "out": str(out), "findings": found})  # fmt: skip
        return
    show.findings(done.findings, to_stderr=True)
    if done.left_out:
        say(done.left_out, mark="!", style="yellow", to_stderr=True)
    left = f" {count(done.blank, 'row')} without a text left unanswered." if done.blank else ""
    unsure = "" if done.unsure is None else f"; {done.unsure} of them unsure"
    say(f"Answered {count(done.num_answered, 'row')} into {out}{unsure}.{left}")
