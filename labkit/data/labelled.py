"""A labelled table inside a run folder: checked, cut into parts, no longer the person's file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

FILE_NAME = "rows.parquet"


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
        frames = [
            pl.DataFrame(
                {
                    "part": [name] * len(part),
                    "text": part.texts,
                    "label": part.labels,
                    "row": part.rows,
                },
                schema={"part": pl.String, "text": pl.String, "label": pl.String, "row": pl.Int64},
            )
            for name, part in vars(self).items()
        ]
        file = folder / FILE_NAME
        file.touch(mode=0o600)
        pl.concat(frames).write_parquet(file)

    @classmethod
    def load(cls, folder: Path) -> "LabelledParts":
        frame = pl.read_parquet(folder / FILE_NAME)

        def part(name: str) -> Part:
            rows = frame.filter(pl.col("part") == name)
            return Part(
                texts=rows["text"].to_list(),
                labels=rows["label"].to_list(),
                rows=rows["row"].to_list(),
            )

        return cls(train=part("train"), validation=part("validation"), held_out=part("held_out"))
