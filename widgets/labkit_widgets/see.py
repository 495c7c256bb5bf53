"""What the model would see of a row: asked of `labkit run see`, in a process of its own.

It needs the base model's tokenizer, and with that torch, which a session's kernel never loads.
"""

import json
import subprocess
import sys
from typing import Any

from labkit.errors import LabkitError
from labkit.recipes.base import Look
from labkit.runs.spec import RunSpec, spec_flags

TIMEOUT_S = 120
_SAID = "labkit: "
"""What the terminal's door puts before a sentence."""


def see_row(spec: RunSpec, row: int) -> list[Look]:
    """The examples that the row gives. Raises LabkitError, saying why, where it gives none."""
    command = [sys.executable, "-m", "labkit", "run", "see", *spec_flags(spec), f"--row={row}"]
    try:
        done = subprocess.run(
            [*command, "--json"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise LabkitError(
            f"Nothing came within {TIMEOUT_S} s. Try again when the machine is less busy."
        ) from None
    if done.returncode:
        _, found, sentence = done.stderr.partition(_SAID)
        ended = f"The process that looks at rows ended with exit code {done.returncode}. Try again."
        raise LabkitError(sentence.strip() if found else ended)
    return [Look(**found) for found in json.loads(done.stdout)]


def look_view(look: Look) -> dict[str, Any]:
    """As a page draws it: pieces of text, each with what becomes of it."""
    return {
        "pieces": [{"kind": kind, "text": text} for kind, text in look.pieces],
        "tokens": look.num_tokens,
        "learnt": look.num_learnt,
        "cut": look.num_cut,
    }
