"""The process that reads a workbook: `python -m labkit.data.workbook < FILE`.

Started by `labkit.data.excel`, never imported elsewhere. It prints JSON lines: the names of the
visible sheets, or an error, and then every row of the first sheet, without the blank cells at
its end. Formulas and macros are never run: a cell has the value that was last saved.
"""

import json
import resource
import sys
from collections.abc import Iterator
from typing import Any

from labkit.data.cells import excel_text

MEMORY_BYTES = 4 * 2**30
CPU_TIME_S = 300


def main() -> None:
    limit_this_process()
    for line in answer():
        print(json.dumps(line))


def limit_this_process() -> None:
    """Ask for no more memory and time than a large workbook needs, and leave no core file."""
    for kind, limit in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_TIME_S)):
        _, hard = resource.getrlimit(kind)
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def answer() -> Iterator[Any]:
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    try:
        workbook = CalamineWorkbook.from_filelike(sys.stdin.buffer)
        sheets = _visible_sheets(workbook.sheets_metadata)
        yield {"sheets": sheets} if sheets else {"error": "has no visible sheet of cells."}
        if sheets:
            yield from map(_row, workbook.get_sheet_by_name(sheets[0]).iter_rows())
    except PasswordError:
        yield {"error": "asks for a password. Save it without one."}
    except CalamineError as error:
        yield {"error": f"is damaged, or no workbook: {error}. Save the sheet as CSV."}


def _visible_sheets(sheets: list[Any]) -> list[str]:
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    return [
        sheet.name
        for sheet in sheets
        if sheet.visible == SheetVisibleEnum.Visible and sheet.typ == SheetTypeEnum.WorkSheet
    ]


def _row(values: list[Any]) -> list[str]:
    cells = [excel_text(value) for value in values]
    while cells and not cells[-1]:
        cells.pop()
    return cells


if __name__ == "__main__":
    main()
