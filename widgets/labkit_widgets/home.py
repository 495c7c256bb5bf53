"""The person's home folder as a form shows it: folders and tables, nothing hidden.

Paths from a browser are relative to the home folder and never lead out of it.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from labkit.data.load import FORMATS
from labkit.errors import LabkitError, UsageError
from labkit.paths import private_folder, write_private
from labkit.units import format_memory

MAX_ENTRIES = 300
OURS = "labkit"
"""The folder in a home for what the forms make: samples, uploads, answers, models."""
_MAX_NAME_BYTES = 200


def in_home(path: str) -> Path:
    """The place in the home folder. Raises UsageError for a path that leads elsewhere."""
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise UsageError(f"{path!r} does not lie in your home folder.")
    return Path.home().joinpath(*parts)


def inside_home(path: Path) -> str | None:
    """The path relative to the home folder; None where it lies elsewhere."""
    try:
        inside = path.relative_to(Path.home()).as_posix()
    except ValueError:
        return None
    return "" if inside == "." else inside


def written(path: Path) -> str:
    """The path as a person would write it: '~/data.csv'."""
    inside = inside_home(path)
    return str(path) if inside is None else f"~/{inside}"


def list_home(folder: str) -> dict[str, Any]:
    """Folders and tables in a folder of the home, for the file browser. Raises LabkitError."""
    place = in_home(folder)
    try:
        found = sorted(_entries(place), key=lambda e: (e["kind"] != "folder", e["name"].lower()))
    except OSError as error:
        raise LabkitError(f"The folder {place} cannot be read: {error.strerror}.") from error
    parts = PurePosixPath(folder).parts
    return {
        "path": folder,
        "parents": [
            {"name": name, "path": "/".join(parts[: n + 1])} for n, name in enumerate(parts)
        ],
        "entries": found[:MAX_ENTRIES],
        "more": max(0, len(found) - MAX_ENTRIES),
    }


def _entries(place: Path) -> Iterator[dict[str, Any]]:
    with os.scandir(place) as entries:
        for entry in entries:
            inside = inside_home(Path(entry.path))
            if entry.name.startswith(".") or not _is_text(entry.name) or inside is None:
                continue
            if entry.is_dir():
                yield {"kind": "folder", "name": entry.name, "path": inside}
            elif Path(entry.name).suffix.lower() in FORMATS and entry.is_file():
                status = entry.stat()
                changed = datetime.fromtimestamp(status.st_mtime)
                yield {
                    "kind": "file",
                    "name": entry.name,
                    "path": inside,
                    "size": format_memory(status.st_size),
                    "changed": f"{changed:%Y-%m-%d %H:%M}",
                }


def files_of_home(suffix: str) -> list[str]:
    """The files that end so in the home folder itself, by name; none where it cannot be read."""
    try:
        names = sorted(name for name in os.listdir(Path.home()) if name.endswith(suffix))
    except OSError:
        return []
    return [name for name in names if not name.startswith(".") and _is_text(name)][:MAX_ENTRIES]


def _is_text(name: str) -> bool:
    """False for a name whose bytes are no UTF-8, which no message can carry."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def sample_file(name: str) -> Path:
    """The demo's sample table, copied into the home folder; a copy that is there is kept."""
    place = private_folder(Path.home() / OURS / "samples") / name
    if not place.exists():
        write_private(place, files("labkit.demo").joinpath(name).read_text("utf-8"))
    return place


def take_name(folder: Path, name: str, content: bytes = b"") -> Path:
    """A new file of that name, or of 'name (2).csv'; none is ever replaced. Mode 0600."""
    private_folder(folder)
    stem, suffix = os.path.splitext(_plain_name(name))
    for number in count(1):
        path = folder / (f"{stem} ({number}){suffix}" if number > 1 else f"{stem}{suffix}")
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        except OSError as error:
            raise LabkitError(f"{path} cannot be written: {error.strerror}.") from error
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        return path
    raise AssertionError("count() never ends")


def _plain_name(name: str) -> str:
    """The last part of a name, visible and short enough for a file system."""
    last = name.replace("\\", "/").rpartition("/")[2]
    seen = "".join(sign if sign.isprintable() else "_" for sign in last).strip().lstrip(".~")
    stem, suffix = os.path.splitext(seen or "table")
    cut = stem.encode()[: _MAX_NAME_BYTES - len(suffix.encode())].decode(errors="ignore")
    return (cut.rstrip() or "table") + suffix
