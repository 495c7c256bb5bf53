"""Where things lie, and how files are written: private, and whole or not at all."""

import getpass
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit.errors import DamagedFile, LabkitError, UsageError

SETTINGS_NAME = "labkit.toml"
PERSON = "{user}"
"""In a path of the settings: the person's name."""


def settings_file() -> Path | None:
    """The site's `labkit.toml`: the first of those that exist; None for the built-in site.

    `$LABKIT_SITE`, then the person's own, then the one that belongs to this Python
    environment (as Jupyter looks in `sys.prefix/etc/jupyter`), then the machine's.
    The current folder is not looked at: entering somebody's folder must not change the site.
    Raises UsageError where `$LABKIT_SITE` names what is not there.
    """
    if named := os.environ.get("LABKIT_SITE"):
        return _named_settings(named)
    places = [
        from_home(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "labkit",
        Path(sys.prefix) / "etc" / "labkit",
        Path("/etc/labkit"),
    ]
    return next((p / SETTINGS_NAME for p in places if (p / SETTINGS_NAME).is_file()), None)


def _named_settings(named: str) -> Path:
    path = from_home(named)
    path = path / SETTINGS_NAME if path.is_dir() else path
    if not path.is_file():
        raise UsageError(
            f"The environment variable LABKIT_SITE names {path}, which is no file. "
            f"Set it to a site's {SETTINGS_NAME}, or unset it."
        )
    return path


def from_home(path: str | Path) -> Path:
    """The path with '~' written out; '~nobody' of an unknown person stays as it is."""
    return Path(os.path.expanduser(path))


def of_this_person(path: str | Path) -> Path:
    """The path with '~' and '{user}' written out, for who runs this process."""
    path = from_home(path)
    return of_person(path, getpass.getuser()) if PERSON in str(path) else path


def of_person(path: Path, name: str) -> Path:
    """The path with '{user}' replaced by that name.

    Raises UsageError for a name that would lead elsewhere than into a folder of its own.
    """
    if not name or name.startswith(".") or "/" in name or "\0" in name or PERSON in name:
        raise UsageError(f"{name!r} cannot be the name of a folder. Sign in under another name.")
    return Path(str(path).replace(PERSON, name))


def private_folder(path: Path) -> Path:
    """Make the folder, with those above it, for its owner alone (0700).

    Raises LabkitError where that cannot be done.
    """
    try:
        # Not parents=True: the folders above would have the mode that the umask leaves.
        for folder in reversed([path, *path.parents]):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise LabkitError(f"The folder {path} cannot be made: {error.strerror}.") from error
    return path


def list_folder(folder: Path) -> list[Path]:
    """What lies in the folder; nothing where there is none. Raises LabkitError."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LabkitError(f"The folder {folder} cannot be read: {error.strerror}.") from error


def write_private(path: Path, text: str) -> None:
    """Replace the file at once, mode 0600: a reader sees the old text or the new, never half."""
    write_private_bytes(path, text.encode())


def write_private_bytes(path: Path, content: bytes) -> None:
    """As `write_private`, for bytes. Raises LabkitError where the disk is full or closed to us."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    except OSError as error:
        raise LabkitError(f"{path} could not be written: {error.strerror}.") from error
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
    """The file's object; None where there is no such file. Raises DamagedFile."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{path} is damaged: it is not valid JSON.") from error
    if not isinstance(found, dict):
        raise DamagedFile(f"{path} is damaged: it holds no JSON object.")
    return found


def here() -> Path:
    """The folder that we are in. Raises UsageError where it is gone."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("The folder that you are in is gone. Change into another.") from None
