"""Where things lie, and how files are written: private, and whole or not at all."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError

SETTINGS_NAME = "labkit.toml"


def settings_file() -> Path | None:
    """The site's `labkit.toml`: the first of those that exist; None for the built-in site.

    `$LABKIT_SITE`, then the person's own, then the one that belongs to this Python
    environment (as Jupyter looks in `sys.prefix/etc/jupyter`), then the machine's.
    The current folder is not looked at: entering somebody's folder must not change the site.
    """
    if named := os.environ.get("LABKIT_SITE"):
        path = Path(named).expanduser()
        return path / SETTINGS_NAME if path.is_dir() else path
    places = [
        Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "labkit",
        Path(sys.prefix) / "etc" / "labkit",
        Path("/etc/labkit"),
    ]
    return next((p / SETTINGS_NAME for p in places if (p / SETTINGS_NAME).is_file()), None)


def private_folder(path: Path) -> Path:
    """Make the folder, with those above it, for its owner alone (0700)."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_private(path: Path, text: str) -> None:
    """Replace the file at once, mode 0600: a reader sees the old text or the new, never half."""
    write_private_bytes(path, text.encode())


def write_private_bytes(path: Path, content: bytes) -> None:
    """As `write_private`, for bytes. Raises LabkitError when the disk is full."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise LabkitError(f"{path} could not be written: {error.strerror}.") from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_private(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The file's object; None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
