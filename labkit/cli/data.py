"""`labkit data …`: look at a table before it is used."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from labkit.cli import show
from labkit.cli.output import AsJson, print_fields, print_json, say
from labkit.data.check import check_columns, check_text_labels, guess_columns
from labkit.data.load import Table, load_table

app = App(name="data", help="Look at your data before you use it.")


@app.command
def check(
    file: Annotated[Path, Parameter(help="CSV, TSV, JSONL, Parquet or Excel.")],
    *,
    text: Annotated[
        str | None, Parameter(help="The column of texts; guessed where it is left out.")
    ] = None,
    label: Annotated[
        str | None, Parameter(help="The column of labels; guessed where it is left out.")
    ] = None,
    merge_labels: Annotated[
        bool, Parameter(negative=(), help="Take labels that differ in case or blanks for one.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Say what is wrong with a table of texts and labels, with row numbers."""
    table = load_table(file)
    columns = _columns(table, text, label)
    check_columns(table, columns)
    found = check_text_labels(table, **columns, merge_labels=merge_labels)
    findings = [*table.findings, *found]
    usable = not any(finding.severity == "problem" for finding in findings)
    if json:
        print_json(
            {
                "file": str(file),
                "sha256": table.sha256,
                "rows": table.frame.height,
                "columns": table.frame.columns,
                **columns,
                "encoding": table.encoding,
                "delimiter": table.delimiter,
                "usable": usable,
                "findings": [finding.to_dict() for finding in findings],
            }
        )
    else:
        print_fields(
            {
                "file": file,
                "rows": table.frame.height,
                "columns": ", ".join(table.frame.columns),
                **columns,
                **({"encoding": table.encoding} if table.encoding else {}),
            }
        )
        show.findings(findings)
        say("Fine to use." if usable else "Cannot be used as it is.")
    return 0 if usable else 1


def _columns(table: Table, text: str | None, label: str | None) -> dict[str, str]:
    """Those that were named, and for the rest those that look like it."""
    if text is None or label is None:
        guessed = guess_columns(table)
        left = [column for column in guessed if column not in (text, label)]
        text = text or (guessed[0] if guessed[0] in left else left[0])
        label = label or next(column for column in reversed(left) if column != text)
    return {"text": text, "label": label}
