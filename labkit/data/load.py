"""People's tables as they have them: CSV, TSV, JSON Lines, Parquet and Excel, in any encoding.

The form, the CLI and every run read data through `load_table`. It loses no row in silence: what
does not fit is set aside and reported. It executes nothing that a file holds.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from labkit.data.delimited import read_delimited
from labkit.data.excel import read_excel
from labkit.data.findings import Finding
from labkit.data.json_lines import read_json_lines
from labkit.data.parquet import read_parquet
from labkit.data.rows import Gathered
from labkit.errors import DataError, did_you_mean, known_names
from labkit.units import format_memory

MAX_FILE_BYTES = 8 * 2**30

FORMATS: dict[str, Callable[[Path], Gathered]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), read_delimited),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), read_json_lines),
    ".parquet": read_parquet,
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), read_excel),
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A person's table in memory."""

    path: Path
    frame: pl.DataFrame
    """All columns are strings; a cell without content is ''."""
    row_numbers: pl.Series
    """For each row its number as a spreadsheet shows it: the header is row 1. In JSON Lines,
    the number of the line."""
    encoding: str | None
    """The Python codec the text was read with; None for Parquet and Excel."""
    delimiter: str | None
    """None for one column, and for formats without delimiters."""
    sha256: str
    """Of the file's bytes, in hexadecimal."""
    findings: list[Finding]
    """What was met while loading: rows set aside, a guessed encoding, other sheets."""


def load_table(path: Path) -> Table:
    """Read a table. Raises DataError, saying which file, which row and what to do."""
    try:
        _check_path(path)
        read = _reader(path)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        read_in = read(path)
    except UnicodeDecodeError:
        raise DataError(f"{path.name} is cut short or damaged. Save it again as UTF-8.") from None
    except PermissionError:
        raise DataError(f"You may not read {path}. Ask its owner, or copy it.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    return Table(path=path, sha256=sha256, **vars(read_in))


def _reader(path: Path) -> Callable[[Path], Gathered]:
    if read := FORMATS.get(path.suffix.lower()):
        return read
    raise DataError(
        f"labkit cannot read {path.name!r}. It reads files that end in {known_names(FORMATS)}. "
        "Save the table as one of these."
    )


def _check_path(path: Path) -> None:
    """Raises DataError for what is no file; a pipe or device would never end."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path} does not exist.{_near_names(path)}") from None
    if path.is_dir():
        tables = sorted(f.name for f in path.iterdir() if f.suffix.lower() in FORMATS)[:10]
        raise DataError(f"{path} is a folder. Name a table in it: {known_names(tables)}.")
    if not path.is_file():
        raise DataError(f"{path} is no ordinary file.")
    if status.st_size == 0:
        raise DataError(f"{path.name} is empty.")
    if status.st_size > MAX_FILE_BYTES:
        raise DataError(
            f"{path.name} has {format_memory(status.st_size)}; labkit reads up to "
            f"{format_memory(MAX_FILE_BYTES)}. Take a sample of its rows."
        )


def _near_names(path: Path) -> str:
    try:
        return did_you_mean(path.name, [other.name for other in path.parent.iterdir()])
    except OSError:
        return f" Nor does its folder {path.parent}." if not path.parent.exists() else ""
