"""Where the details of a fault of labkit go, since nobody's screen shows a traceback."""

import os
import traceback
from datetime import UTC, datetime
from pathlib import Path

from labkit.paths import private_folder, write_private


def keep_details() -> Path:
    """Write the current exception's traceback to a file of its own and return its path."""
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    folder = private_folder(state / "labkit" / "failures")
    path = folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    write_private(path, traceback.format_exc())
    return path
