"""A labelled table inside a run folder: checked, cut into parts, no longer the person's file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from labkit.data.parts import load_parts, save_parts


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows of one part, with their numbers in the person's file."""

    texts: Sequence[str]
    labels: Sequence[str]
    rows: Sequence[int]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, kw_only=True)
class LabelledParts:
    train: Part
    validation: Part
    """For early stopping and for choosing settings."""
    held_out: Part
    """Read once, at the end."""

    def save(self, folder: Path) -> None:
        """Write the parts into the folder as Parquet, mode 0600."""
        save_parts(folder, {name: _frame(part) for name, part in vars(self).items()})

    @classmethod
    def load(cls, folder: Path) -> "LabelledParts":
        return cls(**{name: _part(frame) for name, frame in load_parts(folder).items()})


def _frame(part: Part) -> pl.DataFrame:
    columns = {"text": part.texts, "label": part.labels, "row": part.rows}
    return pl.DataFrame(columns, schema={"text": pl.String, "label": pl.String, "row": pl.Int64})


def _part(frame: pl.DataFrame) -> Part:
    return Part(
        texts=frame["text"].to_list(), labels=frame["label"].to_list(), rows=frame["row"].to_list()
    )
