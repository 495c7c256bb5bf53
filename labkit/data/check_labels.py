"""Findings about labels: too few or many, rare, uneven, spelt in two ways. Called by `check`."""

import polars as pl

from labkit.data.examples import label_merges
from labkit.data.findings import Finding, count, listed, note, problem, warning

MIN_ROWS_PER_LABEL = 8
MAX_LABELS = 1_000
MAX_SHARE_DISTINCT = 0.5
"""Above this share of different values, a column of labels is taken for something else."""
MIN_ROWS_TO_JUDGE = 20
UNEVEN_FACTOR = 10


def label_findings(usable: pl.DataFrame, column: str) -> list[Finding]:
    """Findings on the labels of usable rows, as `examples.usable_frame` makes them."""
    counts = usable.group_by("label").agg(pl.len(), pl.col("row").min()).sort("len", "row")
    if unfit := _unfit(counts, usable.height, column):
        return [unfit]
    return [
        *_many(counts, column),
        *_rare(counts, column),
        *_spellings(usable, column),
        *_uneven(counts, column),
    ]


def _unfit(counts: pl.DataFrame, num_rows: int, column: str) -> Finding | None:
    """The problem that makes every other finding on this column pointless."""
    if counts.height == 1:
        name = listed(counts["label"].to_list())
        message = f"All rows have the label {name}; there is nothing to tell apart."
        fix = "Add rows with other labels, or choose another column."
        return problem("one-label", message, column=column, fix=fix)
    if num_rows < MIN_ROWS_TO_JUDGE or counts.height <= MAX_SHARE_DISTINCT * num_rows:
        return None
    message = (
        f"{column!r} has {counts.height:,} different values in {num_rows:,} rows; "
        "it looks like an id or free text, not like a label."
    )
    fix = "Choose the column that holds the labels."
    return problem("label-looks-free", message, column=column, fix=fix)


def _many(counts: pl.DataFrame, column: str) -> list[Finding]:
    if counts.height <= MAX_LABELS:
        return []
    message = f"{column!r} has {counts.height:,} labels. Is it the column you mean?"
    fix = "Choose another column, or put rare labels together."
    return [warning("many-labels", message, column=column, fix=fix)]


def _rare(counts: pl.DataFrame, column: str) -> list[Finding]:
    findings: list[Finding] = []
    single = counts.filter(pl.col("len") == 1)
    few = counts.filter((pl.col("len") > 1) & (pl.col("len") < MIN_ROWS_PER_LABEL))
    if single.height:
        message = (
            f"{count(single.height, 'label')} with one row only: "
            f"{listed(single['label'].to_list())}. It can be learnt, but not measured."
        )
        fix = "Add rows, or put such labels under a wider one."
        findings.append(
            warning("single-row-label", message, rows=single["row"], column=column, fix=fix)
        )
    if few.height:
        message = (
            f"{count(few.height, 'label')} with fewer than {MIN_ROWS_PER_LABEL} rows: "
            f"{listed(few['label'].to_list())}."
        )
        fix = "Expect little of such labels, or add rows."
        findings.append(warning("few-rows-for-label", message, column=column, fix=fix))
    return findings


def _uneven(counts: pl.DataFrame, column: str) -> list[Finding]:
    rarest, commonest = counts.row(0, named=True), counts.row(-1, named=True)
    if commonest["len"] < UNEVEN_FACTOR * rarest["len"]:
        return []
    message = (
        f"The labels are uneven: {listed([commonest['label']])} has "
        f"{count(commonest['len'], 'row')}, {listed([rarest['label']])} has {rarest['len']:,}."
    )
    fix = "Look at the result of each label, not at the accuracy alone."
    return [note("uneven-labels", message, column=column, fix=fix)]


def _spellings(usable: pl.DataFrame, column: str) -> list[Finding]:
    """Labels that differ only by capitals, blanks, width or normal form, with how to merge them."""
    merge = label_merges(usable["label"])
    if not merge:
        return []
    rows = usable.filter(pl.col("label").is_in(list(merge)))["row"]
    pairs = [f"{listed([found])} for {listed([usual])}" for found, usual in merge.items()]
    message = (
        f"{count(len(merge), 'label')} that differ from another only by capitals, blanks or "
        f"width: {', '.join(pairs[:5])}{' …' if len(pairs) > 5 else ''}."
    )
    fix = "Merge them (merge_labels), or give them different names."
    details = {"merge": merge}
    return [warning("label-spelling", message, rows=rows, column=column, fix=fix, details=details)]
