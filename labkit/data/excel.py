"""Excel and OpenDocument workbooks: the first visible sheet, read by a process of its own.

A workbook of a few kilobytes can ask for hundreds of gigabytes: by zipped zeros, by one cell in
the far corner of a sheet, by a cell repeated a billion times; the library that reads it then
ends its process. So `load_table` calls `read_excel`, which starts `labkit.data.workbook` under
limits of memory and time, and takes rows of text from it.
"""

import json
import subprocess
import sys
import zipfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from labkit.data.findings import Finding, listed, note
from labkit.data.rows import (
    Gathered,
    Row,
    SetAside,
    column_names,
    gather,
    name_for_blank,
    settle_blank_names,
    tidy,
)
from labkit.data.workbook import MEMORY_BYTES
from labkit.errors import DataError
from labkit.units import format_memory

MAX_UNPACKED_BYTES = 2 * 2**30


def read_excel(path: Path) -> Gathered:
    """The rows of the first visible sheet. Raises DataError for no workbook, or a huge one."""
    _refuse_large_archive(path)
    lines = _workbook_lines(path)
    aside = SetAside()
    try:
        sheets = _sheets(path, next(lines))
        rows = enumerate(lines, 1)
        header = next((row for row in rows if any(map(str.strip, row[1]))), None)
        if header is None:
            raise DataError(f"{path.name}: the sheet {sheets[0]!r} is empty.")
        names = column_names(path, header)
        frame, numbers = gather(path, names, _named(rows, names), aside, pad=True)
    finally:
        lines.close()
    frame, numbers = tidy(path, frame, numbers, aside)
    frame, blank_names = settle_blank_names(frame, header)
    findings = _sheet_findings(sheets) + blank_names + aside.findings(frame.height)
    return Gathered(frame=frame, row_numbers=numbers, findings=findings)


def _refuse_large_archive(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile:
        raise _not_read(path) from None
    if unpacked_bytes > MAX_UNPACKED_BYTES:
        raise DataError(
            f"{path.name} unpacks to {format_memory(unpacked_bytes)}; the limit is "
            f"{format_memory(MAX_UNPACKED_BYTES)}. Save the sheet as CSV."
        )


def _workbook_lines(path: Path) -> Generator[Any]:
    """What the process says, line by line. Raises DataError where it ends before it is done."""
    command = [sys.executable, "-P", "-m", "labkit.data.workbook"]
    with (
        path.open("rb") as file,
        subprocess.Popen(
            command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.endswith(b"\n"):  # else the process was ended in the middle of a line
                    yield json.loads(line)
            if process.wait():
                raise _not_read(path)
        finally:
            process.kill()


def _sheets(path: Path, answer: dict[str, Any]) -> list[str]:
    """The names of the visible sheets; the first is the one that is read."""
    if "error" in answer:
        raise DataError(f"{path.name} {answer['error']}")
    return answer["sheets"]


def _named(rows: Iterable[Row], names: list[str]) -> Iterator[Row]:
    """The rows; a cell to the right of the header makes a column without a name."""
    for number, cells in rows:
        while len(names) < len(cells):
            names.append(name_for_blank(len(names) + 1, names))
        yield number, cells


def _sheet_findings(sheets: list[str]) -> list[Finding]:
    if len(sheets) < 2:
        return []
    message = f"labkit read the first sheet, {sheets[0]!r}, and not {listed(sheets[1:])}."
    fix = "Move the sheet you want to the front, or save it as a file of its own."
    return [note("first-sheet", message, fix=fix)]


def _not_read(path: Path) -> DataError:
    return DataError(
        f"{path.name} cannot be read: it is damaged, or needs more than "
        f"{format_memory(MEMORY_BYTES)} of memory. Open it, and save the sheet as CSV."
    )
