"""What any error says to a person, at every door; nobody's screen shows a traceback."""

import errno
import os
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from labkit.errors import LabkitError
from labkit.paths import from_home, private_folder, write_private

_OF_TRAIN = ("torch", "transformers", "peft", "ray", "sklearn", "tokenizers")
"""What the extra `train` brings."""


def in_words(error: Exception) -> str | None:
    """What to tell a person of an error that is no fault of labkit; None for one that is."""
    if isinstance(error, LabkitError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name in _OF_TRAIN:
        return f"this needs {error.name}. Get it with: pip install 'labkit[train]'"
    if isinstance(error, OSError) and is_disk_full(error):
        where = f" ({error.filename})" if error.filename else ""
        return f"the disk is full{where}. Free some room and try again."
    return None


def is_disk_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def keep_details(error: BaseException) -> Path:
    """Write the error's traceback to a file of its own and return its path."""
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    path = _folder() / name
    write_private(path, "".join(traceback.format_exception(error)))
    return path


def _folder() -> Path:
    state = from_home(os.environ.get("XDG_STATE_HOME") or "~/.local/state")
    try:
        return private_folder(state / "labkit" / "failures")
    except LabkitError:  # no home, or a full one
        return Path(tempfile.mkdtemp(prefix="labkit-failure-"))
