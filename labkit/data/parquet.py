"""Parquet: columns of any type, turned into text as a person would write it.

Called by `load_table`. The header counts as row 1, so the first row of data is row 2.
"""

from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from labkit.data.cells import plain_text
from labkit.data.findings import Finding, listed, note
from labkit.data.rows import MAX_COLUMNS, MAX_ROWS, Gathered, SetAside, tidy, too_large
from labkit.errors import DataError


def read_parquet(path: Path) -> Gathered:
    """The rows of a Parquet file. Raises DataError where it is damaged."""
    try:
        raw = _read(path)
        binary = [name for name, kind in raw.schema.items() if kind == pl.Binary]
        columns = [_as_text(raw[name]) for name in raw.columns if name not in binary]
    except PolarsError as error:
        first_line = str(error).partition("\n")[0]
        raise DataError(f"{path.name} cannot be read as Parquet: {first_line}.") from None
    numbers = pl.Series("row", range(2, raw.height + 2), dtype=pl.Int64)
    aside = SetAside()
    frame, numbers = tidy(path, pl.DataFrame(columns), numbers, aside)
    findings = _binary_findings(binary) + aside.findings(frame.height)
    return Gathered(frame=frame, row_numbers=numbers, findings=findings)


def _read(path: Path) -> pl.DataFrame:
    """The frame, unless its footer announces more than fits: a few bytes can stand for billions."""
    lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    num_rows = lazy.select(pl.len()).collect().item()
    if num_rows > MAX_ROWS or len(lazy.collect_schema()) > MAX_COLUMNS:
        raise too_large(path)
    return lazy.collect()


def _as_text(column: pl.Series) -> pl.Series:
    kind = column.dtype
    if kind.is_integer() or kind in (pl.String, pl.Boolean, pl.Categorical, pl.Enum):
        return column.cast(pl.String).fill_null("")
    texts = [plain_text(value) for value in column.to_list()]
    return pl.Series(column.name, texts, dtype=pl.String)


def _binary_findings(binary: list[str]) -> list[Finding]:
    if not binary:
        return []
    message = f"{listed(binary)} holds bytes, not text; labkit left it out."
    return [note("binary-column", message)]
