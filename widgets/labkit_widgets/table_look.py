"""A first look at a person's table: its first rows, and which columns it seems to have."""

from dataclasses import dataclass
from pathlib import Path

from labkit.data.check import guess_columns
from labkit.data.load import load_table
from labkit.errors import UsageError

ROWS = 5
COLUMNS = 6
CELL_CHARACTERS = 160


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a form shows of a table before anything is decided."""

    path: Path
    height: int
    columns: list[str]
    rows: list[list[str]]
    """The first cells of the first rows."""
    numbers: list[int]
    """The rows' numbers, as a spreadsheet shows them."""
    guess: dict[str, str]
    """Of each role, the column that it seems to be; empty for a table of one column."""


def look_at(path: Path) -> Look:
    """Read the table. Raises DataError where it cannot be read."""
    table = load_table(path)
    try:
        text, label = guess_columns(table)
        guess = {"text": text, "label": label}
    except UsageError:
        guess = {}
    head = table.frame.head(ROWS)
    return Look(
        path=path,
        height=table.frame.height,
        columns=table.frame.columns,
        rows=[[_cut(cell) for cell in row[:COLUMNS]] for row in head.rows()],
        numbers=table.row_numbers.head(ROWS).to_list(),
        guess=guess,
    )


def _cut(cell: str) -> str:
    return cell if len(cell) <= CELL_CHARACTERS else cell[: CELL_CHARACTERS - 1] + "…"
