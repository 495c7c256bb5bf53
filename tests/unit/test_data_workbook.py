"""Excel and OpenDocument workbooks, ordinary and hostile."""

import datetime
import zipfile
from collections.abc import Sequence
from pathlib import Path

import openpyxl
import pytest

from labkit.data import excel
from labkit.data.cells import excel_text
from labkit.data.load import load_table
from labkit.errors import DataError

ROWS = [["text", "label", "day"], ["hello", 3, datetime.datetime(2024, 5, 1)], ["bye", 2.5, None]]


def save(path: Path, sheets: dict[str, Sequence[Sequence[object]]]) -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return book


def repack(path: Path, part: str, old: str, new: str) -> None:
    """Change the text of one part of a zipped document."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert old.encode() in parts[part]
    parts[part] = parts[part].replace(old.encode(), new.encode())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_a_sheet_becomes_columns_of_text(tmp_path: Path):
    save(tmp_path / "t.xlsx", {"Calls": [[], *ROWS[:2], [], ROWS[2]]})
    table = load_table(tmp_path / "t.xlsx")
    assert table.frame.columns == ["text", "label", "day"]
    assert table.frame.rows() == [("hello", "3", "2024-05-01"), ("bye", "2.5", "")]
    assert table.row_numbers.to_list() == [3, 5]
    assert (table.encoding, table.delimiter, table.findings) == (None, None, [])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        (0.1 + 0.2, "0.3"),
        (True, "true"),
        ("007", "007"),
        (1e20, "1e+20"),
        (datetime.datetime(2024, 5, 1, 8, 30), "2024-05-01 08:30:00"),
        (datetime.time(8, 30), "08:30:00"),
    ],
)
def test_a_cell_reads_as_a_person_would_write_it(value: object, text: str):
    assert excel_text(value) == text


def test_the_first_visible_sheet_is_read_and_said(tmp_path: Path):
    book = save(tmp_path / "t.xlsx", {"Hidden": ROWS, "Calls": ROWS, "Old": [["x"]]})
    book["Hidden"].sheet_state = "hidden"
    book.save(tmp_path / "t.xlsx")
    [note] = load_table(tmp_path / "t.xlsx").findings
    assert note.code == "first-sheet"
    assert note.message == "labkit read the first sheet, 'Calls', and not 'Old'."


def test_cells_beside_the_table_make_a_nameless_column(tmp_path: Path):
    save(tmp_path / "t.xlsx", {"S": [["text", "label"], ["a", "b"], ["c", "d", "", "check this"]]})
    table = load_table(tmp_path / "t.xlsx")
    assert table.frame.rows() == [("a", "b", ""), ("c", "d", "check this")]
    assert table.frame.columns[2] == "column 4"
    assert [found.code for found in table.findings] == ["blank-column-name"]


def test_a_workbook_under_another_ending_is_read_by_its_content(tmp_path: Path):
    save(tmp_path / "t.xlsx", {"S": ROWS})
    (tmp_path / "t.xlsx").rename(tmp_path / "t.xls")
    assert load_table(tmp_path / "t.xls").frame.height == 2


def test_what_is_no_workbook_is_refused(tmp_path: Path):
    save(tmp_path / "empty.xlsx", {"S": []})
    (tmp_path / "text.xlsx").write_text("text,label\na,b\n")
    (tmp_path / "cut.xlsx").write_bytes((tmp_path / "empty.xlsx").read_bytes()[:2000])
    for name, says in {
        "empty.xlsx": "the sheet 'S' is empty",
        "text.xlsx": "is damaged, or no workbook",
        "cut.xlsx": "is damaged, or no workbook",
    }.items():
        with pytest.raises(DataError, match=f"{name}.*{says}"):
            load_table(tmp_path / name)


@pytest.mark.parametrize("cell", ["XFD1048576", "ALL200000"], ids=["550 GB", "6.4 GB"])
def test_one_cell_in_the_far_corner_does_not_take_all_memory(tmp_path: Path, cell: str):
    path = tmp_path / "corner.xlsx"
    save(path, {"S": [["text", "label"], ["a", "b"]]})
    repack(path, "xl/worksheets/sheet1.xml", 'r="B2"', f'r="{cell}"')
    with pytest.raises(DataError, match=r"corner\.xlsx cannot be read.*4\.0 GB of memory"):
        load_table(path)


def test_a_cell_repeated_a_billion_times_does_not_take_all_memory(tmp_path: Path):
    path = tmp_path / "bomb.ods"
    cell = "<table:table-cell {} office:value-type='string'><text:p>a</text:p></table:table-cell>"
    write_ods(path, cell.format("table:number-columns-repeated='2000000000'"))
    with pytest.raises(DataError, match=r"bomb\.ods"):
        load_table(path)


def test_an_open_document_is_read(tmp_path: Path):
    cell = "<table:table-cell office:value-type='string'><text:p>{}</text:p></table:table-cell>"
    write_ods(tmp_path / "t.ods", *(cell.format(text) for text in ("text", "hello")))
    assert load_table(tmp_path / "t.ods").frame.to_dict(as_series=False) == {"text": ["hello"]}


def test_zipped_zeros_are_refused_before_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    save(tmp_path / "t.xlsx", {"S": ROWS})
    monkeypatch.setattr(excel, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(DataError, match=r"t\.xlsx unpacks to .* Save the sheet as CSV"):
        load_table(tmp_path / "t.xlsx")


def write_ods(path: Path, *cells: str) -> None:
    """A document with one sheet, one cell in each row."""
    names = " ".join(
        f"xmlns:{short}='urn:oasis:names:tc:opendocument:xmlns:{short}:1.0'"
        for short in ("office", "table", "text")
    )
    rows = "".join(f"<table:table-row>{cell}</table:table-row>" for cell in cells)
    content = (
        f"<office:document-content {names}><office:body><office:spreadsheet>"
        f"<table:table table:name='S'>{rows}</table:table>"
        "</office:spreadsheet></office:body></office:document-content>"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", content)
        archive.writestr("META-INF/manifest.xml", "<manifest:manifest/>")
