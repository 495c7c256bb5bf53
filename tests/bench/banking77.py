"""BANKING77 (Casanueva et al. 2020) beside the checkout: 77 intents of a bank's customers."""

import csv
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "banking77"
TRAIN, TEST = FOLDER / "train.csv", FOLDER / "test.csv"
LABEL = "category"


def missing() -> str | None:
    """Why it cannot be measured here; None where it can."""
    return None if TRAIN.exists() and TEST.exists() else f"There is no BANKING77 in {FOLDER}."


def read(file: Path) -> tuple[list[str], list[str]]:
    """Its texts and their labels."""
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [row["text"] for row in rows], [row[LABEL] for row in rows]
