"""Texts with their labels, as the recipes take them, out of a table of a person's.

`check` reports what is left out here; `split` cuts the examples into parts.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from labkit.data.load import Table

_VISIBLE = r"[^\s\p{Cc}\p{Cf}]"
"""Neither a space, nor a control character, nor an invisible one such as a zero-width space."""

_MAYBE_NOT_NORMAL = (
    r"\s\s|[^\S ]|^ | $"
    r"|[^\x{0}-\x{2ff}\x{2010}-\x{205e}\x{3001}-\x{3096}\x{3400}-\x{9fff}\x{ff01}-\x{ffee}]"
)
"""Blanks that are not one space, or letters outside the ranges in which all text is NFC; most
texts have neither, and need no slow work."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Usable rows. The three lists have the same length."""

    texts: list[str]
    labels: list[str]
    rows: list[int]
    """The row numbers in the person's file."""

    def __len__(self) -> int:
        return len(self.texts)


def usable_rows(table: Table, text: str, label: str, *, merge_labels: bool = False) -> Examples:
    """The rows that have a text and a label; labels without the blanks around them.

    With `merge_labels`, the spellings of one label become the most frequent of them.
    """
    frame = usable_frame(table, text, label, merge_labels=merge_labels)
    return Examples(
        texts=frame["text"].to_list(), labels=frame["label"].to_list(), rows=frame["row"].to_list()
    )


def usable_frame(
    table: Table, text: str, label: str, *, merge_labels: bool = False
) -> pl.DataFrame:
    """The usable rows as columns 'row', 'text' and 'label'."""
    frame = text_label_frame(table, text, label)
    frame = frame.filter(~is_blank("text") & ~is_blank("label"))
    merge = label_merges(frame["label"]) if merge_labels else {}
    return frame.with_columns(pl.col("label").replace(merge)) if merge else frame


def text_label_frame(table: Table, text: str, label: str) -> pl.DataFrame:
    """All rows as columns 'row', 'text' and 'label', the labels stripped."""
    labels = table.frame[label].str.strip_chars()
    return pl.DataFrame({"row": table.row_numbers, "text": table.frame[text], "label": labels})


def is_blank(column: str) -> pl.Expr:
    return ~pl.col(column).str.contains(_VISIBLE)


def are_blank(texts: Sequence[str]) -> list[bool]:
    """For each text whether nothing in it can be seen, so that no model should answer it."""
    frame = pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)})
    return frame.select(is_blank("text")).to_series().to_list()


def normal_content(texts: pl.Series) -> pl.Series:
    """What makes two texts the same: NFC, and every run of white space as one space."""
    unusual = texts.str.contains(_MAYBE_NOT_NORMAL)
    if not unusual.any():
        return texts
    normal = texts.filter(unusual).str.normalize("NFC").str.replace_all(r"\s+", " ")
    return texts.clone().scatter(unusual.arg_true(), normal.str.strip_chars(" "))


def label_merges(labels: pl.Series) -> dict[str, str]:
    """Each rarer spelling of a label with the most frequent one, by which to replace it."""
    counts = Counter(dict(labels.value_counts().iter_rows()))
    spellings: dict[str, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        spellings.setdefault(_spelling_key(label), []).append(label)
    return {rare: group[0] for group in spellings.values() for rare in group[1:]}


def _spelling_key(label: str) -> str:
    """The label without case, width, normal form, or doubled and invisible blanks."""
    plain = unicodedata.normalize("NFKC", label).casefold()
    visible = "".join(sign for sign in plain if unicodedata.category(sign) != "Cf")
    return unicodedata.normalize("NFKC", re.sub(r"\s+", " ", visible).strip())
