"""A table with answers beside it, and the parts of a table in a run folder."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import pytest

from labkit.data.answers import answered_table, check_output, write_table
from labkit.data.examples import are_blank
from labkit.data.labelled import LabelledParts, Part
from labkit.data.load import load_table
from labkit.errors import UsageError


@dataclass(frozen=True)
class Given:
    label: str
    confidence: float | None
    unsure: bool = False


FRAME = pl.DataFrame({"id": ["1", "2"], "text": ["a cat", "一隻狗"]})
ANSWERS: Sequence[Given | None] = [Given("貓", 0.87654), Given("dog", 0.3, True)]


def test_answers_stand_in_columns_behind_the_persons_own():
    table = answered_table(FRAME, ANSWERS)
    assert table.rows() == [
        ("1", "a cat", "貓", 0.8765, False),
        ("2", "一隻狗", "dog", 0.3, True),
    ]
    assert table.columns == ["id", "text", "answer", "confidence", "unsure"]


def test_a_column_of_the_persons_is_never_replaced():
    frame = FRAME.rename({"id": "answer"})
    table = answered_table(frame, ANSWERS)
    assert table.columns == ["answer", "text", "answer_labkit", "confidence", "unsure"]
    assert table["answer"].to_list() == ["1", "2"]


def test_a_model_that_says_no_confidence_has_one_column():
    answers = [Given("a cat it is", None), None]
    table = answered_table(FRAME, answers)
    assert table.columns == ["id", "text", "answer"]
    assert table["answer"].to_list() == ["a cat it is", None]
    assert answered_table(FRAME, [None, None]).columns[-2:] == ["confidence", "unsure"]


def test_a_row_without_an_answer_has_empty_cells():
    table = answered_table(FRAME, [None, Given("dog", 0.3)])
    assert table.row(0) == ("1", "a cat", None, None, None)
    assert answered_table(FRAME, [None, None])["answer"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("text", "blank"), [("", True), (" \t\n", True), ("\u200b\u3000", True), ("?", False)]
)
def test_a_text_is_blank_where_nothing_can_be_seen(text, blank):
    assert are_blank([text, "x"]) == [blank, False]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "A.CSV"])
def test_a_written_table_is_read_again_the_same(tmp_path, name):
    out = tmp_path / name
    write_table(answered_table(FRAME, [*ANSWERS[:1], None]), out)
    found = load_table(out)
    assert found.frame.rows() == [
        ("1", "a cat", "貓", "0.8765", "false"),
        ("2", "一隻狗", "", "", ""),
    ]
    assert out.stat().st_mode & 0o77 == 0


def test_spreadsheets_are_told_that_it_is_utf8(tmp_path):
    write_table(FRAME, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes().startswith(b"\xef\xbb\xbfid,text\n")


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("a.xyz", "a.xyz would be of an unknown kind. Choose one of: .csv, .tsv, .jsonl, .parquet"),
        ("nowhere/a.csv", "There is no folder .*nowhere to write a.csv into"),
        ("pets.csv", "is the table that is read. Name another file with --out"),
        ("link.csv", "is the table that is read"),
        ("other.csv", "other.csv exists already. Name another file, or add --overwrite"),
        ("folder.csv", "is a folder. Name a file in it"),
    ],
)
def test_what_cannot_be_written_is_said_before_any_work(tmp_path, pets, out, sentence):
    (tmp_path / "link.csv").symlink_to(pets)
    (tmp_path / "other.csv").touch()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match=sentence):
        check_output(tmp_path / out, pets, overwrite=False)


def test_overwriting_is_asked_for_and_never_the_input(tmp_path, pets):
    (tmp_path / "other.csv").touch()
    check_output(tmp_path / "new.csv", pets, overwrite=False)
    check_output(tmp_path / "other.csv", pets, overwrite=True)
    with pytest.raises(UsageError, match="is the table that is read"):
        check_output(pets, pets, overwrite=True)


def test_parts_are_saved_for_the_owner_alone_and_read_again(tmp_path):
    parts = LabelledParts(
        train=Part(texts=["a", "b"], labels=["x", "y"], rows=[2, 5]),
        validation=Part(texts=["台北"], labels=["x"], rows=[3]),
        held_out=Part(texts=[], labels=[], rows=[]),
    )
    parts.save(tmp_path)
    assert LabelledParts.load(tmp_path) == parts
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o77 == 0
