"""From rows of cells to a frame of text columns, in chunks, whatever the file's format.

The readers (delimited, json_lines, excel, parquet) call this. A row that does not fit is set
aside with its number and its reason, never dropped in silence; a row whose cells are all blank
holds no data and is left out.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import polars as pl

from labkit.data.findings import Finding, count, listed, note, problem, warning
from labkit.errors import DataError

Row = tuple[int, Sequence[str]]
"""The row's number as a spreadsheet shows it, and its cells."""

MAX_ROWS = 20_000_000
MAX_COLUMNS = 2_000
CHUNK_ROWS = 1_000
"""Small on purpose: the lists of a chunk stay in the processor's cache (2 s, not 3 s, for a
million rows), and Python's collector of cycles meets few of them."""

_REASONS = {
    "ragged-row": (
        "more or fewer cells than the header",
        "Fill in the missing cells, or put quotes around a cell that holds the delimiter.",
    ),
    "stray-quote": (
        "text after a closing quote",
        'Write a quote inside a quoted cell twice: "She said ""yes""".',
    ),
    "damaged-characters": (
        "bytes that are no text",
        "Open the source of the table and save it again as UTF-8.",
    ),
    "broken-json": (
        "no JSON object",
        'Write one object on each line: {"text": "…", "label": "…"}.',
    ),
}


@dataclass
class SetAside:
    """The rows that do not fit, by reason."""

    rows: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, code: str, row: int) -> None:
        assert code in _REASONS
        self.rows[code].append(row)

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def findings(self, num_kept: int) -> list[Finding]:
        """One finding for each reason; a problem where most of the table is gone."""
        make = problem if len(self) > num_kept else warning
        return [
            make(code, f"{count(len(rows), 'row')} set aside: {what}.", rows=rows, fix=fix)
            for code, (what, fix) in _REASONS.items()
            if (rows := self.rows.get(code))
        ]


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What a reader has read: the columns, and what a person should know about them."""

    frame: pl.DataFrame
    """All columns are strings; a cell without content is ''."""
    row_numbers: pl.Series
    findings: list[Finding]
    encoding: str | None = None
    delimiter: str | None = None


def gather(
    path: Path, names: list[str], rows: Iterator[Row], aside: SetAside, *, pad: bool = False
) -> tuple[pl.DataFrame, pl.Series]:
    """The rows as columns, and their numbers.

    With `pad`, a row may be shorter than `names`, and `names` may grow while the rows are read.
    """
    frames: list[pl.DataFrame] = []
    numbers: list[pl.Series] = []
    num_rows = 0
    while chunk := list(islice(rows, CHUNK_ROWS)):
        num_rows += len(chunk)
        if num_rows > MAX_ROWS or len(names) > MAX_COLUMNS:
            raise too_large(path)
        if {len(cells) for _, cells in chunk} != {len(names)}:
            chunk = list(_fitting(chunk, len(names), aside, pad))
        frame, chunk_numbers = _columns(names, chunk, aside)
        frames.append(frame)
        numbers.append(chunk_numbers)
    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String)), _numbers([])
    frame = pl.concat(frames, how="diagonal" if pad else "vertical", rechunk=True)
    return frame.fill_null(""), pl.concat(numbers, rechunk=True)


def tidy(
    path: Path, frame: pl.DataFrame, numbers: pl.Series, aside: SetAside
) -> tuple[pl.DataFrame, pl.Series]:
    """Without blank rows and rows with NUL characters. Raises DataError where none is left."""
    if frame.width:
        has_nul = frame.select(pl.any_horizontal(pl.all().str.contains("\0", literal=True)))
        for row in numbers.filter(has_nul.to_series()):
            aside.add("damaged-characters", row)
        blank = frame.select(pl.all_horizontal(pl.all().str.strip_chars() == ""))
        keep = ~(has_nul.to_series() | blank.to_series())
        frame, numbers = frame.filter(keep), numbers.filter(keep)
    if frame.is_empty():
        raise _no_rows(path, aside)
    return frame, numbers


def column_names(path: Path, header: Row) -> list[str]:
    """The header's cells as names; a blank one becomes 'column 3'. Raises DataError on doubles."""
    row, cells = header
    if len(cells) > MAX_COLUMNS:
        raise too_large(path)
    written = [cell.strip() for cell in cells]
    twice = sorted({name for name in written if name and written.count(name) > 1})
    if twice:
        raise DataError(
            f"{path.name}: row {row} gives the name {listed(twice)} to several columns. "
            "Give each column a name of its own."
        )
    return [name or name_for_blank(place, written) for place, name in enumerate(written, 1)]


def name_for_blank(place: int, names: Sequence[str]) -> str:
    """A name that is not taken for the column at that place, which has none."""
    name = f"column {place}"
    return f"{name} (no name)" if name in names else name


def settle_blank_names(frame: pl.DataFrame, header: Row) -> tuple[pl.DataFrame, list[Finding]]:
    """Drop nameless columns that hold nothing; say how those that hold something are called."""
    written = {cell.strip() for cell in header[1]}
    nameless = [name for name in frame.columns if name not in written]
    empty = [name for name in nameless if (frame[name].str.strip_chars() == "").all()]
    kept = [name for name in nameless if name not in empty]
    if not kept:
        return frame.drop(empty), []
    message = f"{count(len(kept), 'column')} without a name: labkit calls it {listed(kept)}."
    fix = "Write a name in the header if you need the column."
    return frame.drop(empty), [note("blank-column-name", message, rows=[header[0]], fix=fix)]


def too_large(path: Path) -> DataError:
    return DataError(
        f"{path.name} has more than {MAX_ROWS:,} rows or {MAX_COLUMNS:,} columns. "
        "Take a sample, or the columns that are needed."
    )


def _fitting(chunk: list[Row], width: int, aside: SetAside, pad: bool) -> Iterator[Row]:
    for number, cells in chunk:
        if len(cells) == width:
            yield number, cells
        elif pad:
            yield number, [*cells, *[""] * (width - len(cells))]
        elif any(cell.strip() for cell in cells):
            if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
                yield number, cells[:width]
            else:
                aside.add("ragged-row", number)


def _columns(names: list[str], rows: list[Row], aside: SetAside) -> tuple[pl.DataFrame, pl.Series]:
    try:
        columns = zip(*(cells for _, cells in rows), strict=True) if rows else [[] for _ in names]
        frame = pl.DataFrame(
            [
                pl.Series(name, column, dtype=pl.String)
                for name, column in zip(names, columns, strict=True)
            ]
        )
        return frame, _numbers([number for number, _ in rows])
    except UnicodeEncodeError:  # a byte that is no text, or half a character written in JSON
        return _columns(names, list(_whole_characters(rows, aside)), aside)


def _whole_characters(rows: list[Row], aside: SetAside) -> Iterator[Row]:
    for number, cells in rows:
        try:
            "".join(cells).encode()
            yield number, cells
        except UnicodeEncodeError:
            aside.add("damaged-characters", number)


def _numbers(numbers: list[int]) -> pl.Series:
    return pl.Series("row", numbers, dtype=pl.Int64)


def _no_rows(path: Path, aside: SetAside) -> DataError:
    if not len(aside):
        return DataError(f"{path.name} has a header and no rows. Add rows below it.")
    reasons = " ".join(f"{finding.message} {finding.fix}" for finding in aside.findings(0))
    return DataError(f"{path.name}: no row can be read. {reasons}")
