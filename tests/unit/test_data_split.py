"""The three parts: whole, apart, and never moved by what else stands in the table."""

import random
import re
import unicodedata
from collections import defaultdict

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labkit.data.check import Examples
from labkit.data.examples import normal_content
from labkit.data.split import Parts, part_of, places, split
from labkit.errors import UsageError

Row = tuple[str, str]

texts = st.text(alphabet="ab \u3000\u0301é\n", max_size=5)
tables = st.lists(st.tuples(texts, st.sampled_from("xyz")), max_size=40)
shares = st.sampled_from([0.0, 0.1, 0.4])
quick = settings(deadline=None, database=None)


def split_rows(rows: list[Row], validation: float = 0.2, heldout: float = 0.3) -> Parts:
    examples = Examples(
        texts=[text for text, _ in rows],
        labels=[label for _, label in rows],
        rows=list(range(2, len(rows) + 2)),
    )
    return split(examples, validation=validation, heldout=heldout)


def part_names(parts: Parts) -> list[str]:
    """The name of each row's part, in the order of the rows."""
    names = {index: name for name, indexes in vars(parts).items() for index in indexes}
    return [names[index] for index in sorted(names)]


def hashed_parts(rows: list[Row]) -> list[str]:
    """Where the hash alone would put each row."""
    frame = pl.DataFrame({"place": pl.Series(places([text for text, _ in rows]), dtype=pl.Float64)})
    return frame.select(part_of(pl.col("place"), 0.2, 0.3)).to_series().to_list()


def content(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip()


def many_rows(num_rows: int) -> list[Row]:
    return [(f"text number {n}", "xyz"[n % 3]) for n in range(num_rows)]


def test_parts_have_about_the_shares_asked_for():
    parts = split_rows(many_rows(3000), validation=0.1, heldout=0.2)
    assert len(parts.validation) == pytest.approx(300, abs=60)
    assert len(parts.heldout) == pytest.approx(600, abs=80)


def test_the_split_is_the_same_in_every_version_of_labkit():
    assert places(["hello", " hello\n", "Hello"]) == [
        0.6551350150274586,
        0.6551350150274586,
        0.23578704145177343,
    ]


def test_with_a_test_file_nothing_is_held_out():
    rows = many_rows(300)
    parts = split_rows(rows, validation=0.2, heldout=0)
    assert parts.heldout == []
    assert parts.validation == split_rows(rows, validation=0.2, heldout=0.3).validation


@pytest.mark.parametrize(("validation", "heldout"), [(0.5, 0.5), (-0.1, 0.2), (0.2, 1.0)])
def test_shares_that_leave_nothing_to_learn_from_are_refused(validation: float, heldout: float):
    with pytest.raises(UsageError, match="leave nothing to learn from"):
        split_rows(many_rows(10), validation, heldout)


@quick
@given(tables, shares, shares)
def test_every_row_is_in_one_part(rows: list[Row], validation: float, heldout: float):
    parts = split_rows(rows, validation, heldout)
    indexes = [*parts.train, *parts.validation, *parts.heldout]
    assert sorted(indexes) == list(range(len(rows)))
    assert all(list(part) == sorted(part) for part in vars(parts).values())


@quick
@given(tables)
def test_no_text_is_in_two_parts(rows: list[Row]):
    found: dict[str, set[str]] = defaultdict(set)
    for (text, _), name in zip(rows, part_names(split_rows(rows)), strict=True):
        found[content(text)].add(name)
    assert all(len(names) == 1 for names in found.values())


@quick
@given(tables, st.randoms())
def test_the_order_of_the_rows_does_not_matter(rows: list[Row], shuffle: random.Random):
    order = list(range(len(rows)))
    shuffle.shuffle(order)
    names = part_names(split_rows(rows))
    shuffled = part_names(split_rows([rows[index] for index in order]))
    assert shuffled == [names[index] for index in order]


@quick
@given(st.lists(texts, max_size=40))
def test_a_row_leaves_its_place_only_where_its_label_would_be_missing(many: list[str]):
    rows = [(text, "xyz"[len(content(text)) % 3]) for text in many]
    hashed = hashed_parts(rows)
    by_hash = {(label, name) for (_, label), name in zip(rows, hashed, strict=True)}
    for (_, label), name, place in zip(rows, part_names(split_rows(rows)), hashed, strict=True):
        assert name == place or (label, name) not in by_hash


def test_rows_of_frequent_labels_never_move():
    rows = many_rows(600)
    assert part_names(split_rows(rows)) == hashed_parts(rows)
    longer = rows + [(f"a new text {n}", "new label") for n in range(50)]
    assert part_names(split_rows(longer))[:600] == hashed_parts(rows)


@quick
@given(tables, shares, shares)
def test_every_label_can_be_learnt(rows: list[Row], validation: float, heldout: float):
    parts = split_rows(rows, validation, heldout)
    assert {rows[index][1] for index in parts.train} == {label for _, label in rows}


@pytest.mark.parametrize("start", range(8))
@pytest.mark.parametrize(
    ("num_texts", "parts_of_label"),
    [
        (1, {"train"}),
        (2, {"train", "heldout"}),
        (4, {"train", "heldout", "validation"}),
        (5, {"train", "heldout", "validation"}),
    ],
)
def test_a_rare_label_is_learnt_first_then_measured(
    start: int, num_texts: int, parts_of_label: set[str]
):
    rows = [(f"{start} rare {n}", "rare") for n in range(num_texts)]
    assert set(part_names(split_rows(rows))) == parts_of_label
    assert set(part_names(split_rows(rows * 2))) == parts_of_label


def test_the_text_that_moves_has_the_smallest_hash():
    rows = [(f"text {n}", "x") for n in range(200)]
    training = [row for row, name in zip(rows, hashed_parts(rows), strict=True) if name == "train"]
    moved = split_rows(training[:3]).heldout
    assert moved == [min(range(3), key=lambda index: places([training[index][0]]))]


def test_a_text_with_two_labels_stays_unless_one_could_not_be_learnt_without():
    hashed = hashed_parts(many_rows(200))
    training = [f"text number {n}" for n in range(200) if hashed[n] == "train"][:6]
    heldout = [f"text number {n}" for n in range(200) if hashed[n] == "heldout"][:2]
    rows = [(text, label) for text in training for label in "xy"]
    assert set(part_names(split_rows(rows))) == {"train"}
    moved = part_names(split_rows([*rows, *((text, label) for text in heldout for label in "vw")]))
    assert moved[12:].count("train") == 2


@example(["か\u3099", "e\u0301"])
@quick
@given(
    st.lists(st.text(alphabet="a é\u0301\n\x85\xa0\u1100\u1161\u2028\u3000か\u3099ﾊ", max_size=6))
)
def test_content_is_text_in_normal_form_with_single_spaces(many: list[str]):
    normal = normal_content(pl.Series(many, dtype=pl.String)).to_list()
    white = re.compile(r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
    assert normal == [
        white.sub(" ", unicodedata.normalize("NFC", text)).strip(" ") for text in many
    ]
