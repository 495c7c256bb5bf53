"""The three parts of a person's data inside a run folder, in one Parquet file."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

FILE_NAME = "rows.parquet"
PARTS = ("train", "validation", "held_out")


def save_parts(folder: Path, parts: Mapping[str, pl.DataFrame]) -> None:
    """Write the parts, whose columns are the same, into the folder; mode 0600."""
    frames = [part.select(pl.lit(name).alias("part"), pl.all()) for name, part in parts.items()]
    file = folder / FILE_NAME
    file.touch(mode=0o600)
    pl.concat(frames).write_parquet(file)


def load_parts(folder: Path) -> dict[str, pl.DataFrame]:
    """What `save_parts` wrote, by the part's name."""
    frame = pl.read_parquet(folder / FILE_NAME)
    return {name: frame.filter(pl.col("part") == name).drop("part") for name in PARTS}
