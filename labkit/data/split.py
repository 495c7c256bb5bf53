"""Three parts of the examples: to learn from, to choose settings on, and to measure on once.

A hash of the text alone says where it belongs, on a scale from 0 to 1: below `heldout` it is
held out, from `1 - validation` on it is for validation, between them it is for training. So
there is no seed; a row stays where it is when others are added or the file is sorted anew, and
equal texts are always together.

One rule overrides the hash, so that rare labels can be learnt and measured. A label that is
missing from training gets its text of the smallest hash there, one that its part can spare if
there is any. Then a label with two texts or more, if it is missing from the held-out part, gets
the smallest there that can be spared; and then one with four or more, if it is missing from
validation. A text that has several labels is only moved if a label could not be learnt otherwise.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from labkit.data.examples import Examples, normal_content
from labkit.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Indexes into the examples, ascending; every index is in one part."""

    train: list[int]
    validation: list[int]
    """For early stopping and for choosing settings."""
    heldout: list[int]
    """Read once, at the end."""


class PartName(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    HELDOUT = "heldout"


_MIN_TEXTS = {PartName.TRAIN: 1, PartName.HELDOUT: 2, PartName.VALIDATION: 4}
"""A label with fewer different texts than this need not be in that part."""


def split(examples: Examples, *, validation: float, heldout: float) -> Parts:
    """The parts of the examples; `heldout` is 0 where a person gives a test file.

    Raises UsageError where the shares leave nothing to learn from.
    """
    if validation < 0 or heldout < 0 or validation + heldout >= 1:
        raise UsageError(
            f"Shares of {validation:g} for validation and {heldout:g} held out leave nothing to "
            "learn from. Both are at least 0, and together less than 1."
        )
    rows = pl.DataFrame({"place": places(examples.texts), "label": examples.labels})
    rows = rows.with_columns(part=part_of(pl.col("place"), validation, heldout))
    wanted = {
        PartName.TRAIN: True,
        PartName.HELDOUT: heldout > 0,
        PartName.VALIDATION: validation > 0,
    }
    texts = _keep_labels(rows.unique(), [name for name in wanted if wanted[name]])
    parts = rows.select("place").join(
        texts.select("place", "part").unique(), on="place", how="left", maintain_order="left"
    )["part"]
    return Parts(**{name: (parts == name).arg_true().to_list() for name in PartName})


def places(texts: Sequence[str]) -> list[float]:
    """For each text a number from 0 to 1 (not included) that only its content decides.

    It is the first 53 bits of a BLAKE2b hash, which a float holds exactly.
    """
    contents = normal_content(pl.Series(texts, dtype=pl.String))
    blake2b, number = hashlib.blake2b, int.from_bytes
    return [
        (number(blake2b(content.encode(), digest_size=8).digest()) >> 11) / 2**53
        for content in contents
    ]


def part_of(place: pl.Expr, validation: float, heldout: float) -> pl.Expr:
    """The part in which the hash alone puts a text."""
    return (
        pl.when(place < heldout)
        .then(pl.lit(PartName.HELDOUT.value))
        .when(place >= 1 - validation)
        .then(pl.lit(PartName.VALIDATION.value))
        .otherwise(pl.lit(PartName.TRAIN.value))
    )


def _keep_labels(texts: pl.DataFrame, wanted: Sequence[PartName]) -> pl.DataFrame:
    """Move texts of labels that would be missing from a part; see the module's rule.

    `texts` has one row for each text and label that it has, with its 'part'. The moves to one
    part are all chosen before any is made, so the order of the labels does not matter.
    """
    texts = texts.with_columns(torn=pl.col("place").is_duplicated())
    for part in wanted:
        moved = _donors(texts, part).unique("label", keep="first")
        is_moved = pl.col("place").is_in(moved["place"].to_list())
        part_now = pl.when(is_moved).then(pl.lit(part.value)).otherwise(pl.col("part"))
        texts = texts.with_columns(part=part_now)
    return texts


def _donors(texts: pl.DataFrame, part: PartName) -> pl.DataFrame:
    """The texts that may move to a part, of the labels that are missing there, best first.

    A text can be spared where its part has more of the label, or needs none of so few.
    """
    num_texts = pl.len().over("label")
    is_missing = (pl.col("part") != part).all().over("label") & (num_texts >= _MIN_TEXTS[part])
    needs = pl.col("part").replace_strict(_MIN_TEXTS, return_dtype=pl.Int64)
    is_spare = (pl.len().over("label", "part") > 1) | (num_texts < needs)
    missing = texts.filter(is_missing).with_columns(bound=~is_spare).sort("torn", "bound", "place")
    return missing if part is PartName.TRAIN else missing.filter(~pl.col("torn") & ~pl.col("bound"))
