"""A table with a model's answers beside each row, written as its reader expects it."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import polars as pl

from labkit.errors import UsageError
from labkit.paths import write_private_bytes

_ADDED = {"answer": pl.String, "confidence": pl.Float64, "unsure": pl.Boolean}


class Answer(Protocol):
    @property
    def label(self) -> str: ...
    @property
    def confidence(self) -> float | None: ...
    @property
    def unsure(self) -> bool: ...


def check_output(out: Path, data: Path, *, overwrite: bool) -> None:
    """Raises UsageError where `out` cannot be written, before any work is done."""
    if out.suffix.lower() not in _WRITERS:
        raise UsageError(
            f"{out.name} would be of an unknown kind. Choose one of: {', '.join(_WRITERS)}."
        )
    if not out.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {out.absolute().parent} to write {out.name} into.")
    if out.is_dir():
        raise UsageError(f"{out} is a folder. Name a file in it.")
    if out.exists() and data.exists() and out.samefile(data):
        raise UsageError(f"{out} is the table that is read. Name another file with --out.")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists already. Name another file, or add --overwrite.")
    if not os.access(out.absolute().parent, os.W_OK):
        raise UsageError(f"You may not write into {out.absolute().parent}.")


def answered_table(frame: pl.DataFrame, answers: Sequence[Answer | None]) -> pl.DataFrame:
    """The table with columns for the answers; a column of that name already there is kept.

    Where there is no answer, as for a row without a text, the cells are empty. A model that says
    no confidence has one column, its answer.
    """
    values = {
        "answer": [answer and answer.label for answer in answers],
        "confidence": [
            round(answer.confidence, 4) if answer and answer.confidence is not None else None
            for answer in answers
        ],
        "unsure": [answer and answer.unsure for answer in answers],
    }
    sure = says_confidence(answers)
    return frame.with_columns(
        pl.Series(_free_name(name, frame.columns), values[name], dtype=kind)
        for name, kind in _ADDED.items()
        if sure or name == "answer"
    )


def says_confidence(answers: Sequence[Answer | None]) -> bool:
    """Whether the model says how sure it is of its answers; so it is taken where there are none."""
    given = [answer for answer in answers if answer]
    return not given or any(answer.confidence is not None for answer in given)


def write_table(frame: pl.DataFrame, out: Path) -> None:
    """Write by the file's suffix, whole or not at all, mode 0600."""
    write_private_bytes(out, _WRITERS[out.suffix.lower()](frame))


def _csv(frame: pl.DataFrame, separator: str = ",") -> bytes:
    # The mark at the start makes spreadsheets read it as UTF-8.
    return b"\xef\xbb\xbf" + frame.write_csv(separator=separator).encode()


def _parquet(frame: pl.DataFrame) -> bytes:
    import io

    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


_WRITERS: dict[str, Callable[[pl.DataFrame], bytes]] = {
    ".csv": _csv,
    ".tsv": lambda frame: _csv(frame, "\t"),
    ".jsonl": lambda frame: frame.write_ndjson().encode(),
    ".parquet": _parquet,
}


def _free_name(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_labkit"
    return name
