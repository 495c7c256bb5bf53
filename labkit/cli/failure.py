"""Where the details of a fault of labkit go, since nobody's screen shows a traceback."""

import os
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from labkit.errors import LabkitError
from labkit.paths import from_home, private_folder, write_private


def keep_details() -> Path:
    """Write the current exception's traceback to a file of its own and return its path."""
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    path = _folder() / name
    write_private(path, traceback.format_exc())
    return path


def _folder() -> Path:
    state = from_home(os.environ.get("XDG_STATE_HOME") or "~/.local/state")
    try:
        return private_folder(state / "labkit" / "failures")
    except LabkitError:  # no home, or a full one
        return Path(tempfile.mkdtemp(prefix="labkit-failure-"))
