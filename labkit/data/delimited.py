"""CSV, TSV and other delimited text: which delimiter, and the rows with their true numbers.

Called by `load_table`. Python's own `csv` in strict mode reads the rows, because it alone
keeps the count right across cells of several lines; a million rows take three seconds or so.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from labkit.data.rows import Gathered, Row, SetAside, column_names, gather, settle_blank_names, tidy
from labkit.data.text_encoding import find_encoding
from labkit.errors import DataError

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_CHARACTERS = 2**17
MAX_CELL_CHARACTERS = 2**24
_NO_DELIMITER = "\x1f"


def read_delimited(path: Path) -> Gathered:
    """The rows of a delimited file. Raises DataError where a quote is never closed."""
    encoding = find_encoding(path)
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL_CHARACTERS))
    with path.open(encoding=encoding.name, errors=encoding.errors, newline="") as file:
        sample = file.read(SAMPLE_CHARACTERS)
        delimiter = find_delimiter(sample, is_whole=len(sample) < SAMPLE_CHARACTERS)
    aside = SetAside()
    with path.open(encoding=encoding.name, errors=encoding.errors, newline="") as file:
        rows = read_rows(path, file, delimiter or _NO_DELIMITER, aside)
        header = _header(path, rows, aside)
        names = column_names(path, header)
        frame, numbers = gather(path, names, rows, aside)
    frame, numbers = tidy(path, frame, numbers, aside)
    frame, blank_names = settle_blank_names(frame, header)
    return Gathered(
        frame=frame,
        row_numbers=numbers,
        findings=encoding.findings() + blank_names + aside.findings(frame.height),
        encoding=encoding.name,
        delimiter=delimiter,
    )


def find_delimiter(sample: str, *, is_whole: bool) -> str | None:
    """The delimiter that gives the most rows as many cells as the header; None for one column."""
    fits = {mark: _fit(sample, mark, is_whole) for mark in DELIMITERS}
    best = max(fits, key=lambda mark: fits[mark])
    return best if fits[best] > (0, 0) else None


def read_rows(path: Path, lines: Iterable[str], delimiter: str, aside: SetAside) -> Iterator[Row]:
    """Each row with its number; a blank line is a row without cells."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    number = last_line = 0
    while True:
        try:
            for cells in reader:
                number += 1
                yield number, cells
                last_line = reader.line_num
            return
        except csv.Error as error:
            number += 1
            if "expected after" not in str(error) or reader.line_num > last_line + 1:
                raise _never_closed(path, number) from None
            aside.add("stray-quote", number)
            last_line = reader.line_num


def _never_closed(path: Path, number: int) -> DataError:
    return DataError(
        f"{path.name}: a quote opens in row {number} and is not closed before the row ends. "
        "Close it, or write it twice if it belongs to the text."
    )


def _header(path: Path, rows: Iterator[Row], aside: SetAside) -> Row:
    for row in rows:
        if len(aside):
            break
        if any(cell.strip() for cell in row[1]):
            return _whole_header(path, row)
    if len(aside):
        raise DataError(f"{path.name}: the header has text after a closing quote. Mend the quotes.")
    raise DataError(f"{path.name} holds no rows: it is empty or blank.")


def _whole_header(path: Path, header: Row) -> Row:
    try:
        "".join(header[1]).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{path.name}: the header (row {header[0]}) has bytes that are no text. "
            "Save the table again as 'CSV UTF-8'."
        ) from None
    return header


def _fit(sample: str, delimiter: str, is_whole: bool) -> tuple[float, int]:
    """The share of rows with as many cells as the header, and that number; zeros for one cell."""
    counts = _cell_counts(sample, delimiter)
    if not is_whole and len(counts) > 1:
        counts.pop()  # the sample ends within this row
    if not counts or counts[0] < 2:
        return 0, 0
    return counts.count(counts[0]) / len(counts), counts[0]


def _cell_counts(sample: str, delimiter: str) -> list[int]:
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, strict=True)
    counts: list[int] = []
    while True:
        try:
            if cells := next(reader):
                counts.append(len(cells))
        except StopIteration:
            return counts
        except csv.Error:
            counts.append(0)
