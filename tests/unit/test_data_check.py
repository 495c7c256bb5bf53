"""The data doctor: each finding on a table made to have it, and none on a sound one."""

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from labkit.data.check import (
    Examples,
    check_between,
    check_columns,
    check_text_labels,
    guess_columns,
    usable_rows,
)
from labkit.data.findings import Finding
from labkit.data.load import Table
from labkit.errors import UsageError

SOUND = [(f"text number {n}", "ab"[n % 2]) for n in range(40)]


def table_of(rows: Sequence[tuple[str, ...]], columns: Sequence[str] = ("text", "label")) -> Table:
    frame = pl.DataFrame(list(rows), schema=dict.fromkeys(columns, pl.String), orient="row")
    return Table(
        path=Path("calls.csv"),
        frame=frame,
        row_numbers=pl.Series(range(2, len(rows) + 2), dtype=pl.Int64),
        encoding="utf-8",
        delimiter=",",
        sha256="",
        findings=[],
    )


def findings_of(rows: Sequence[tuple[str, ...]], merge_labels: bool = False) -> dict[str, Finding]:
    found = check_text_labels(table_of(rows), "text", "label", merge_labels=merge_labels)
    return {finding.code: finding for finding in found}


def examples_of(rows: Sequence[tuple[str, str]]) -> Examples:
    return usable_rows(table_of(rows), "text", "label")


def test_a_sound_table_has_no_findings():
    assert findings_of(SOUND) == {}


def test_a_missing_column_is_named_with_the_nearest():
    table = table_of(SOUND, ("text", "category"))
    check_columns(table, {"text": "text", "label": "category"})
    with pytest.raises(UsageError) as unknown:
        check_columns(table, {"text": "text", "label": "categroy"})
    assert str(unknown.value) == (
        "calls.csv has no column 'categroy' for the label. Did you mean 'category'? "
        "Its columns: 'text', 'category'."
    )
    with pytest.raises(UsageError, match="cannot both be column 'text'"):
        check_columns(table, {"text": "text", "label": "text"})


def test_blank_texts_and_labels_are_left_out_and_reported():
    rows = [("\u3000 \n", "a"), ("\u200b", "b"), ("no label", " "), *SOUND]
    found = findings_of(rows)
    assert found["blank-text"].rows == (2, 3)
    assert found["blank-label"].rows == (4,)
    assert found["blank-label"].message == "1 row left out: no label."
    examples = examples_of(rows)
    assert examples.rows == list(range(5, 45))


def test_blanks_around_a_label_are_no_part_of_it():
    examples = examples_of([(" kept ", " a\t"), ("x", "\u3000a")])
    assert examples == Examples(texts=[" kept ", "x"], labels=["a", "a"], rows=[2, 3])


def test_a_single_label_is_a_problem():
    assert findings_of([(text, "a") for text, _ in SOUND])["one-label"].severity == "problem"


def test_too_few_rows_are_a_problem():
    assert "19 usable rows" in findings_of(SOUND[:19])["too-few-rows"].message
    assert "too-few-rows" in findings_of([])
    assert "too-few-rows" not in findings_of(SOUND[:20])


def test_rare_labels_are_warned_of():
    found = findings_of([*SOUND, ("rare one", "c"), *((f"few {n}", "d") for n in range(7))])
    assert found["single-row-label"].rows == (42,)
    assert "'c'" in found["single-row-label"].message
    assert found["few-rows-for-label"].message == "1 label with fewer than 8 rows: 'd'."


def test_spellings_of_one_label_can_be_merged():
    spellings = ["Ａ", "A", " a", "a\u200b", "B", "café", "cafe\u0301"]
    rows = [*SOUND, *((f"other {n}", label) for n, label in enumerate(spellings))]
    finding = findings_of(rows)["label-spelling"]
    assert finding.severity == "warning"
    assert finding.details["merge"] == {
        "A": "a",
        "a\u200b": "a",
        "Ａ": "a",
        "B": "b",
        "café": "cafe\u0301",
    }
    merged = usable_rows(table_of(rows), "text", "label", merge_labels=True)
    assert set(merged.labels) == {"a", "b", "cafe\u0301"}
    assert "label-spelling" not in findings_of(rows, merge_labels=True)


def test_a_text_with_two_labels_is_reported_with_both_rows():
    found = findings_of([*SOUND, ("Same  text", "a"), ("other", "a"), ("Same text ", "b")])
    assert found["conflicting-labels"].rows == (42, 44)
    assert "row 42 says 'a', row 44 says 'b'" in found["conflicting-labels"].message
    assert "duplicate-text" not in found


def test_a_repeated_row_is_noted():
    found = findings_of([*SOUND, SOUND[0]])
    assert list(found) == ["duplicate-text"]
    assert found["duplicate-text"].rows == (42,)


def test_long_texts_are_noted():
    found = findings_of([*SOUND, ("長" * 2001, "a"), ("長" * 2000 + "短", "b"), ("長" * 2000, "b")])
    assert found["long-text"].rows == (42, 43)


@pytest.mark.parametrize("num_labels", [21, 40])
def test_a_column_that_is_nearly_all_different_is_no_label(num_labels: int):
    rows = [(text, f"id {n % num_labels}") for n, (text, _) in enumerate(SOUND)]
    assert findings_of(rows)["label-looks-free"].severity == "problem"
    halved = [(text, f"id {n % 20}") for n, (text, _) in enumerate(SOUND)]
    assert "label-looks-free" not in findings_of(halved)


def test_very_many_labels_are_warned_of():
    rows = [(f"text {n}", str(n % 1001)) for n in range(1001 * 8)]
    assert list(findings_of(rows)) == ["many-labels"]


def test_uneven_labels_are_noted():
    rows = [(f"text {n}", "rare" if n < 8 else "common") for n in range(88)]
    message = findings_of(rows)["uneven-labels"].message
    assert message == "The labels are uneven: 'common' has 80 rows, 'rare' has 8."
    assert "uneven-labels" not in findings_of(rows[:87])


def test_problems_come_first_and_rows_stop_at_ten():
    rows = [("", "a")] * 12 + [(text, "a") for text, _ in SOUND] + [SOUND[0]]
    found = check_text_labels(table_of(rows), "text", "label")
    assert [finding.severity for finding in found] == ["problem", "warning", "note"]
    assert found[1].rows == tuple(range(2, 12))


def test_a_finding_goes_into_json():
    finding = findings_of([*SOUND, ("x", "")])["blank-label"]
    assert json.loads(json.dumps(finding.to_dict())) == {
        "severity": "warning",
        "code": "blank-label",
        "message": "1 row left out: no label.",
        "rows": [42],
        "column": "label",
        "fix": "Fill in the label, or remove the rows.",
        "details": {},
    }


def test_a_test_file_is_compared_with_what_is_learnt_from():
    train = examples_of([*SOUND, ("only here", "c")])
    heldout = examples_of([(" text  number 3", "b"), ("new", "a"), ("new too", "d")])
    found = {finding.code: finding for finding in check_between(train, heldout)}
    assert found["text-in-both-files"].rows == (2,)
    assert found["label-only-in-test"].rows == (4,)
    assert "'d'" in found["label-only-in-test"].message
    assert found["label-not-in-test"].message.startswith("The test file has no row with 'c'")
    fresh = examples_of([("new", "a"), ("newer", "b"), ("newest", "c")])
    assert check_between(train, fresh) == []


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("id", "text", "label"), ("text", "label")),
        (("nr", "what people say", "kind"), ("what people say", "kind")),
        (("label", "remark", "other"), ("remark", "label")),
    ],
)
def test_the_columns_are_guessed(columns: tuple[str, ...], expected: tuple[str, str]):
    values = {"id": 0, "nr": 0, "other": 0, "kind": 2, "label": 2}
    rows = [(str(n), f"a longer text {n}", "ab"[n % 2]) for n in range(10)]
    table = table_of([tuple(row[values.get(name, 1)] for name in columns) for row in rows], columns)
    assert guess_columns(table) == expected


def test_one_column_is_too_few_to_guess_from():
    with pytest.raises(UsageError, match="one column"):
        guess_columns(table_of([("a",)], ("text",)))
