"""The data doctor for texts with labels: what is wrong with a table before anything is tuned.

The form, the CLI and `recipe.prepare` call this. It changes nothing and stops nothing, but for
a column that does not exist: it returns findings, each with the rows and what to do.
"""

from collections.abc import Mapping

import polars as pl

from labkit.data.check_labels import label_findings
from labkit.data.check_texts import blank_findings, text_findings
from labkit.data.examples import (
    Examples,
    normal_content,
    text_label_frame,
    usable_frame,
    usable_rows,
)
from labkit.data.findings import Finding, Severity, count, listed, note, problem, warning
from labkit.data.load import Table
from labkit.errors import UsageError, did_you_mean, known_names

__all__ = [
    "Examples",
    "check_between",
    "check_columns",
    "check_text_labels",
    "guess_columns",
    "usable_rows",
]

MIN_ROWS = 20

_TEXT_NAMES = frozenset(
    "text sentence content message question comment review body 文字 內容".split()
)
_LABEL_NAMES = frozenset("label category class intent topic target tag 類別 分類 标签 類型".split())


def check_columns(table: Table, columns: Mapping[str, str]) -> None:
    """Raises UsageError where a role's column does not exist, or two roles share one."""
    known = table.frame.columns
    roles: dict[str, str] = {}
    for role, name in columns.items():
        if name not in known:
            raise UsageError(
                f"{table.path.name} has no column {name!r} for the {role}."
                f"{did_you_mean(name, known)} Its columns: {known_names(known)}."
            )
        if name in roles:
            raise UsageError(f"The {roles[name]} and the {role} cannot both be column {name!r}.")
        roles[name] = role


def guess_columns(table: Table) -> tuple[str, str]:
    """The columns that hold the text and the label, by their names, or else by their cells.

    The text is the longest; the label has few distinct values. Raises UsageError for one column.
    """
    sample = table.frame.gather_every(max(1, table.frame.height // 10_000))
    if sample.width < 2:
        raise UsageError(f"{table.path.name} has one column; a text and a label are needed.")
    lengths = sample.select(pl.all().str.len_chars().mean()).row(0, named=True)
    distinct = sample.select(pl.all().n_unique()).row(0, named=True)
    text = max(lengths, key=lambda name: (name.lower() in _TEXT_NAMES, lengths[name]))

    def label_likeness(name: str) -> tuple[bool, bool, int]:
        return name.lower() in _LABEL_NAMES, distinct[name] > 1, -distinct[name]

    return text, max((name for name in distinct if name != text), key=label_likeness)


def check_text_labels(
    table: Table, text: str, label: str, *, merge_labels: bool = False
) -> list[Finding]:
    """All findings on a text column and its label column, problems first."""
    usable = usable_frame(table, text, label, merge_labels=merge_labels)
    findings = blank_findings(text_label_frame(table, text, label), text, label)
    if usable.height < MIN_ROWS:
        message = f"{count(usable.height, 'usable row')}; at least {MIN_ROWS} are needed."
        findings.append(problem("too-few-rows", message, fix="Add rows with a text and a label."))
    if not usable.is_empty():
        findings += label_findings(usable, label) + text_findings(usable, text)
    order = list(Severity)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def check_between(train: Examples, heldout: Examples) -> list[Finding]:
    """Findings on a test file of the person's: texts seen in training, labels that differ."""
    tested = _frame(heldout)
    learnt = _frame(train)
    seen = tested.join(learnt, on="content", how="semi")
    unknown = tested.join(learnt, on="label", how="anti")
    untested = sorted(set(train.labels) - set(heldout.labels))
    findings: list[Finding] = []
    if seen.height:
        message = (
            f"{count(seen.height, 'row')} of the test file also stand in the data that is "
            "learnt from, so the result will look better than it is."
        )
        fix = "Remove them from one of the two files."
        findings.append(warning("text-in-both-files", message, rows=seen["row"], fix=fix))
    if unknown.height:
        message = (
            f"{count(unknown.height, 'row')} of the test file have a label that can never be "
            f"predicted, because no row to learn from has it: "
            f"{listed(unknown['label'].unique().sort().to_list())}."
        )
        fix = "Add rows with these labels to learn from, or mend their spelling."
        findings.append(warning("label-only-in-test", message, rows=unknown["row"], fix=fix))
    if untested:
        message = f"The test file has no row with {listed(untested)}, so they are not measured."
        findings.append(note("label-not-in-test", message))
    return findings


def _frame(examples: Examples) -> pl.DataFrame:
    content = normal_content(pl.Series(examples.texts, dtype=pl.String))
    labels = pl.Series(examples.labels, dtype=pl.String)
    return pl.DataFrame(
        {"row": pl.Series(examples.rows, dtype=pl.Int64), "content": content, "label": labels}
    )
