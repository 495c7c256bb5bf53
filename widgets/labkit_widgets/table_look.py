"""A first look at a person's table: its first rows, and which columns it seems to have."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit.data.load import load_table
from labkit.recipes.base import Recipe

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
    last: int
    """The number of the last row; 0 where there is none."""
    guess: Mapping[str, str]
    """Of each role, the column that it seems to be."""


def look_at(path: Path, recipe: Recipe) -> Look:
    """Read the table as that recipe would. Raises DataError where it cannot be read."""
    table = load_table(path)
    head = table.frame.head(ROWS)
    return Look(
        path=path,
        height=table.frame.height,
        columns=table.frame.columns,
        rows=[[_cut(cell) for cell in row[:COLUMNS]] for row in head.rows()],
        numbers=table.row_numbers.head(ROWS).to_list(),
        last=table.row_numbers[-1] if table.frame.height else 0,
        guess=recipe.guess_columns(table),
    )


def _cut(cell: str) -> str:
    return cell if len(cell) <= CELL_CHARACTERS else cell[: CELL_CHARACTERS - 1] + "…"
