"""Reading people's tables: `load_table` loses no row in silence and names the row at fault."""

import csv
import datetime
import hashlib
import json
import os
from pathlib import Path

import polars as pl
import pytest

from labkit.data import load, parquet, rows
from labkit.data.findings import Finding
from labkit.data.load import Table, load_table
from labkit.errors import DataError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def finding(table: Table, code: str) -> Finding:
    [found] = [finding for finding in table.findings if finding.code == code]
    return found


def test_a_csv_file_becomes_columns_of_text(tmp_path: Path):
    path = write(tmp_path, "calls.csv", "text,label,n\nhello,a,3.0\n bye ,b,\n")
    table = load_table(path)
    assert table.frame.to_dict(as_series=False) == {
        "text": ["hello", " bye "],
        "label": ["a", "b"],
        "n": ["3.0", ""],
    }
    assert table.row_numbers.to_list() == [2, 3]
    assert (table.encoding, table.delimiter, table.findings) == ("utf-8", ",", [])
    assert table.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_even_among_quoted_others(tmp_path: Path, delimiter: str):
    rows = [["text", "label"], ["one, two; three", "a|b"], ['say "yes"\tnow', "b"]]
    path = tmp_path / "table.txt"
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    table = load_table(path)
    assert table.delimiter == delimiter
    assert [table.frame.columns, *map(list, table.frame.rows())] == rows


def test_a_comma_in_the_texts_is_no_delimiter(tmp_path: Path):
    rows = ["Text, kurz;Art", "Hallo, du;x", "Ja;y", "Nein, doch, oh;z"]
    table = load_table(write(tmp_path, "de.csv", "\n".join(rows)))
    assert table.delimiter == ";"
    assert table.frame["Text, kurz"].to_list() == ["Hallo, du", "Ja", "Nein, doch, oh"]


def test_one_column_has_no_delimiter(tmp_path: Path):
    table = load_table(write(tmp_path, "texts.txt", "text\nhello, you\nbye\n"))
    assert table.delimiter is None
    assert table.frame["text"].to_list() == ["hello, you", "bye"]


def test_row_numbers_count_blank_lines_and_cells_of_several_lines(tmp_path: Path):
    text = 'text,label\n\n"two\nlines",a\n,\nlast,b\n'
    table = load_table(write(tmp_path, "t.csv", text))
    assert table.frame["text"].to_list() == ["two\nlines", "last"]
    assert table.row_numbers.to_list() == [3, 5]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_on_any_system(tmp_path: Path, newline: str):
    table = load_table(write(tmp_path, "t.csv", newline.join(["text,label", "a,x", "b,y"])))
    assert table.frame.rows() == [("a", "x"), ("b", "y")]


def test_rows_that_do_not_fit_are_set_aside_with_their_numbers(tmp_path: Path):
    rows = ["text,label", "good,a", "too, many, cells", "too few", "good,b", "spare blanks,c,,"]
    table = load_table(write(tmp_path, "t.csv", "\n".join(rows)))
    assert table.frame["text"].to_list() == ["good", "good", "spare blanks"]
    assert table.row_numbers.to_list() == [2, 5, 6]
    ragged = finding(table, "ragged-row")
    assert ragged.rows == (3, 4)
    assert ragged.severity == "warning"
    assert ragged.message == "2 rows set aside: more or fewer cells than the header."


def test_it_is_a_problem_when_most_rows_do_not_fit(tmp_path: Path):
    table = load_table(write(tmp_path, "t.csv", "text,label\ngood,a\nx\ny\n"))
    assert finding(table, "ragged-row").severity == "problem"


def test_rows_are_numbered_right_after_many_chunks(tmp_path: Path):
    lines = [f"text {n},a" if n % 1000 else "ragged" for n in range(2, 3502)]
    table = load_table(write(tmp_path, "t.csv", "\n".join(["text,label", *lines])))
    assert table.frame.height == 3497
    assert finding(table, "ragged-row").rows == (1000, 2000, 3000)
    assert table.frame["text"].to_list() == [f"text {n}" for n in table.row_numbers]


def test_a_stray_quote_on_one_line_spoils_that_row_only(tmp_path: Path):
    table = load_table(write(tmp_path, "t.csv", 'text,label\na,x\n"Hi" he said,y\n5" pipe,z\n'))
    assert table.frame["text"].to_list() == ["a", '5" pipe']
    assert finding(table, "stray-quote").rows == (3,)


@pytest.mark.parametrize(
    "rest", ["b,y\nc,z\n", 'b,y\n"c",z\n'], ids=["to the end", "to another quote"]
)
def test_an_unclosed_quote_names_the_row_where_it_opens(tmp_path: Path, rest: str):
    path = write(tmp_path, "t.csv", 'text,label\n"two\nlines",x\n"opens here,y\n' + rest)
    with pytest.raises(DataError, match=r"t\.csv: a quote opens in row 3 and is not closed"):
        load_table(path)


def test_a_row_with_a_nul_character_is_set_aside(tmp_path: Path):
    rows = "".join(f"text number {n},a\n" for n in range(100))
    table = load_table(write(tmp_path, "t.csv", f"text,label\nbro\0ken,a\n{rows}"))
    assert finding(table, "damaged-characters").rows == (2,)
    assert table.frame.height == 100


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("\n\n", "is empty or blank"),
        ("text,label\n", "a header and no rows"),
        ("text,label\n,\n", "a header and no rows"),
        ("text,label\nonly one\n", "no row can be read. 1 row set aside"),
        ("text,label,text\na,b,c\n", "row 1 gives the name 'text' to several columns"),
        ('"text" x,label\na,b\n', "the header has text after a closing quote"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image"),
        (b"\x7fELF\x02\x01\x01", "a program"),
        (b"PK\x03\x04....", "name a workbook .xlsx"),
        (bytes(range(256)) * 8, "full of control characters"),
        (",".join(f"c{n}" for n in range(3000)), "more than"),
    ],
)
def test_what_is_no_table_is_refused_with_a_reason(tmp_path: Path, content: str, says: str):
    with pytest.raises(DataError, match=r"t\.csv") as refused:
        load_table(write(tmp_path, "t.csv", content))
    assert says in str(refused.value)


def test_columns_without_a_name_are_named_by_their_place(tmp_path: Path):
    table = load_table(write(tmp_path, "t.csv", ",text,,label\n0,hello,,a\n1,bye,,b\n"))
    assert table.frame.columns == ["column 1", "text", "label"]
    assert finding(table, "blank-column-name").rows == (1,)
    table = load_table(write(tmp_path, "t.csv", "text,label,\nhello,a,\n"))
    assert (table.frame.columns, table.findings) == (["text", "label"], [])


def test_a_path_that_is_no_readable_file_says_what_to_do(tmp_path: Path):
    write(tmp_path, "train.csv", "text,label\na,b\n")
    os.mkfifo(tmp_path / "pipe.csv")
    write(tmp_path, "letter.docx", "x")
    for name, says in {
        "trian.csv": r"does not exist\. Did you mean 'train\.csv'\?",
        "nowhere/train.csv": r"does not exist\. Nor does its folder",
        ".": r"is a folder\. Name a table in it: 'pipe\.csv', 'train\.csv'\.",
        "pipe.csv": "is no ordinary file",
        "letter.docx": r"cannot read 'letter\.docx'.*'\.csv'",
    }.items():
        with pytest.raises(DataError, match=says):
            load_table(tmp_path / name)


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:  # root, as in a container, may read everything
        raise PermissionError

    path = write(tmp_path, "t.csv", "text,label\na,b\n")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"You may not read .*t\.csv"):
        load_table(path)


def test_json_lines_are_columns_of_all_keys(tmp_path: Path):
    objects = [{"text": "a", "label": 3.0}, {"text": "b", "tags": ["x"], "label": True}]
    lines = "\n\n".join(map(json.dumps, objects))
    table = load_table(write(tmp_path, "t.jsonl", lines))
    assert table.frame.rows(named=True) == [
        {"text": "a", "label": "3", "tags": ""},
        {"text": "b", "label": "true", "tags": '["x"]'},
    ]
    assert table.row_numbers.to_list() == [1, 3]


def test_lines_that_hold_no_object_are_set_aside(tmp_path: Path):
    lines = [
        '{"text": "a"}',
        "{broken",
        "[1]",
        '{"text": "half \\ud800"}',
        "[" * 100_000,
        '{"\\udc00": 1}',
    ]
    table = load_table(write(tmp_path, "t.ndjson", "\n".join([*lines, '{"text": "z"}'])))
    assert table.frame["text"].to_list() == ["a", "z"]
    assert finding(table, "broken-json").rows == (2, 3, 5, 6)
    assert finding(table, "damaged-characters").rows == (4,)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{broken\n", "no row can be read"),
        ('[{"text": "a"}]', "is one JSON list"),
        ("\n", "empty or blank"),
    ],
)
def test_json_without_a_single_object_is_refused(tmp_path: Path, content: str, says: str):
    with pytest.raises(DataError, match=says):
        load_table(write(tmp_path, "t.jsonl", content))


def test_parquet_of_any_types_becomes_text(tmp_path: Path):
    path = tmp_path / "t.parquet"
    frame = pl.DataFrame(
        {
            "text": ["a", None, "c"],
            "label": [1.0, 2.5, float("nan")],
            "time": [datetime.timedelta(hours=1), None, None],
            "flag": [True, False, None],
            "tags": [["x"], [], None],
            "picture": [b"1", b"2", b"3"],
        }
    )
    frame.write_parquet(path)
    table = load_table(path)
    assert table.frame.rows() == [
        ("a", "1", "1:00:00", "true", '["x"]'),
        ("", "2.5", "", "false", "[]"),
        ("c", "", "", "", ""),
    ]
    assert table.row_numbers.to_list() == [2, 3, 4]
    assert "'picture' holds bytes" in finding(table, "binary-column").message


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"t\.parquet cannot be read as Parquet"):
        load_table(write(tmp_path, "t.parquet", "text,label\na,b\n"))


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_table_that_does_not_fit_in_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
):
    frame = pl.DataFrame({"text": ["a"] * 5000})
    path = tmp_path / f"large{ending}"
    write_frame = {".csv": frame.write_csv, ".jsonl": frame.write_ndjson}
    write_frame.get(ending, frame.write_parquet)(path)
    monkeypatch.setattr(rows, "MAX_ROWS", 4999)
    monkeypatch.setattr(parquet, "MAX_ROWS", 4999)
    with pytest.raises(DataError, match=r"large.* has more than 4,999 rows"):
        load_table(path)
    monkeypatch.setattr(load, "MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match="Take a sample of its rows"):
        load_table(path)
