"""Where the pages and notebooks lie: in the checkout, else where the wheel put them."""

import sys
from pathlib import Path

START_NOTEBOOK = "Start here.ipynb"


def templates_folder() -> Path:
    checkout = Path(__file__).resolve().parents[2] / "templates"
    return checkout if checkout.is_dir() else Path(sys.prefix) / "share" / "labkit" / "templates"
