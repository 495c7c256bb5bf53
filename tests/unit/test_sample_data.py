"""The sample data that comes with labkit, and what its README says about it."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

import labkit

DEMO = Path(labkit.__file__).parent / "demo"


def read_table(name: str) -> tuple[list[str], list[dict[str, str]]]:
    """The header and the rows. A file that is not UTF-8 raises UnicodeDecodeError."""
    with (DEMO / name).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        return list(reader.fieldnames or []), list(reader)


def is_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


@pytest.fixture(scope="module")
def messages() -> list[dict[str, str]]:
    return read_table("hotline.csv")[1]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("hotline.csv", ["text", "category"]),
        ("new_messages.csv", ["text"]),
        ("questions.csv", ["question", "answer"]),
    ],
)
def test_columns_and_encoding(name, columns):
    header, rows = read_table(name)
    assert header == columns  # a byte-order mark would be part of the first name
    assert all(list(row) == columns and all(row.values()) for row in rows)


def test_enough_messages_and_no_duplicates(messages):
    new = read_table("new_messages.csv")[1]
    texts = [" ".join(row["text"].lower().split()) for row in messages + new]
    assert len(messages) > 400
    assert len(new) == 12
    assert [text for text, count in Counter(texts).items() if count > 1] == []


def test_every_category_has_enough_messages_in_both_languages(messages):
    counts = Counter((row["category"], is_chinese(row["text"])) for row in messages)
    categories = {category for category, _ in counts}
    assert len(categories) == 8
    for category in categories:
        assert counts[category, False] + counts[category, True] >= 30
        assert min(counts[category, False], counts[category, True]) >= 15


def test_each_language_has_its_share(messages):
    chinese = sum(is_chinese(row["text"]) for row in messages)
    assert 0.4 <= chinese / len(messages) <= 0.6


def test_the_order_is_mixed(messages):
    """A part from the start of the file has every category."""
    assert len({row["category"] for row in messages[:60]}) == 8


def test_the_readme_counts_are_true(messages):
    readme = (DEMO / "README.md").read_text(encoding="utf-8")
    for category in {row["category"] for row in messages}:
        rows = [row for row in messages if row["category"] == category]
        chinese = sum(is_chinese(row["text"]) for row in rows)
        counts = f"| {len(rows) - chinese} | {chinese} | {len(rows)} |"
        assert f"| `{category}` {counts}" in readme
    assert f"**{len(messages)}**" in readme


def test_the_questions_are_of_three_kinds_mixed_and_each_is_there_once():
    rows = read_table("questions.csv")[1]
    cantonese = re.compile("[嘅唔咗冇喺俾哋嚟啲]")
    kinds = [
        "Cantonese" if cantonese.search(row["answer"] + row["question"])
        else "Chinese" if is_chinese(row["question"]) else "English"
        for row in rows
    ]  # fmt: skip
    assert len({row["question"] for row in rows}) == len(rows) == 120
    assert Counter(kinds)["English"] == 40 and min(Counter(kinds).values()) >= 25
    assert len(set(kinds[:15])) == 3
