"""What the model would see of a row: asked of `labkit run see`, in a process of its own.

It needs the base model's tokenizer, and with that torch, which a session's kernel never loads.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from labkit.errors import LabkitError
from labkit.recipes.base import Look, RowLook
from labkit.runs.spec import RunSpec, spec_flags

TIMEOUT_S = 120
BEFORE, AT_ONCE = 5, 20
"""The process takes seconds to start, so it looks at some rows before and after, too."""
_SAID = "labkit: "
"""What the terminal's door puts before a sentence."""


@dataclass
class Box:
    """The row that a person looks at, and the rows that are known."""

    row: str = ""
    """Its number as it was typed."""
    problem: str = ""
    """Why none could be looked at."""
    known: dict[int, RowLook] = field(default_factory=dict)

    def view(self) -> dict[str, Any]:
        found = self.known.get(int(self.row)) if self.row.isdecimal() else None
        return {
            "row": self.row,
            "problem": self.problem or (found.note if found else ""),
            "looks": [_look(look) for look in found.looks] if found else [],
        }


def see_rows(spec: RunSpec, row: int) -> dict[int, RowLook]:
    """That row and some around it. Raises LabkitError, with the reason, where none can be seen."""
    start = max(1, row - BEFORE)
    command = [sys.executable, "-m", "labkit", "run", "see", *spec_flags(spec), f"--row={start}"]
    try:
        done = subprocess.run(
            [*command, f"--rows={AT_ONCE}", "--json"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise LabkitError(
            f"Nothing came within {TIMEOUT_S} s. Try again when the machine is less busy."
        ) from None
    if done.stdout:
        return {one["row"]: _row_look(one) for one in json.loads(done.stdout)}
    _, found, sentence = done.stderr.partition(_SAID)
    ended = f"The process that looks at rows ended with exit code {done.returncode}. Try again."
    raise LabkitError(sentence.strip() if found else ended)


def _row_look(found: dict[str, Any]) -> RowLook:
    return RowLook(**{**found, "looks": [Look(**look) for look in found["looks"]]})


def _look(look: Look) -> dict[str, Any]:
    """As a page draws it: pieces of text, each with what becomes of it."""
    return {
        "pieces": [{"kind": kind, "text": text} for kind, text in look.pieces],
        "tokens": look.num_tokens,
        "learnt": look.num_learnt,
        "cut": look.num_cut,
    }
