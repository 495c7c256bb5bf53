"""Findings about texts: blank, repeated, with two labels, very long. Called by `check`."""

import polars as pl

from labkit.data.examples import is_blank, normal_content
from labkit.data.findings import Finding, count, listed, note, warning

LONG_TEXT_CHARACTERS = 2_000
"""About 512 tokens of English, which is what most encoders read."""


def blank_findings(frame: pl.DataFrame, text: str, label: str) -> list[Finding]:
    """Rows that are left out because their text or their label is blank."""
    findings: list[Finding] = []
    for role, column in (("text", text), ("label", label)):
        rows = frame.filter(is_blank(role))["row"]
        if len(rows):
            message = f"{count(len(rows), 'row')} left out: no {role}."
            fix = f"Fill in the {role}, or remove the rows."
            findings.append(warning(f"blank-{role}", message, rows=rows, column=column, fix=fix))
    return findings


def text_findings(usable: pl.DataFrame, column: str) -> list[Finding]:
    """Findings on the texts of usable rows, as `examples.usable_frame` makes them."""
    usable = usable.with_columns(normal_content(usable["text"]).alias("content"))
    return _conflicts(usable, column) + _repeated(usable, column) + _long(usable, column)


def _conflicts(usable: pl.DataFrame, column: str) -> list[Finding]:
    num_labels = pl.col("label").n_unique().over("content")
    torn = usable.filter(pl.col("content").is_duplicated()).filter(num_labels > 1)
    if torn.is_empty():
        return []
    example = torn.filter(content=torn["content"][0]).unique("label", keep="first").sort("row")
    says = [f"row {row} says {listed([name])}" for row, name in example["row", "label"].rows()]
    message = (
        f"{count(torn['content'].n_unique(), 'text')} with more than one label, in "
        f"{count(torn.height, 'row')}: {', '.join(says[:3])}."
    )
    fix = "Decide which label is right; a model cannot learn both."
    return [warning("conflicting-labels", message, rows=torn["row"], column=column, fix=fix)]


def _repeated(usable: pl.DataFrame, column: str) -> list[Finding]:
    rows = usable.filter(~pl.struct("content", "label").is_first_distinct())["row"]
    if rows.is_empty():
        return []
    message = f"{count(len(rows), 'row')} with the text and the label of an earlier row."
    fix = "Nothing needs to be done: equal texts always stay in one part."
    return [note("duplicate-text", message, rows=rows, column=column, fix=fix)]


def _long(usable: pl.DataFrame, column: str) -> list[Finding]:
    rows = usable.filter(pl.col("text").str.len_chars() > LONG_TEXT_CHARACTERS)["row"]
    if rows.is_empty():
        return []
    message = f"{count(len(rows), 'text')} longer than {LONG_TEXT_CHARACTERS:,} characters."
    fix = "Most models read the beginning only; put what matters there."
    return [note("long-text", message, rows=rows, column=column, fix=fix)]
