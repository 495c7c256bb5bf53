"""A node's own folder for Ray's sockets, logs and spilled objects: private, short, and swept."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from labkit.errors import LabkitError
from labkit.paths import read_json, write_json
from labkit.processes import ProcessIdentity, identify, is_alive

PREFIX = "lk"
MAX_TEMP_PATH = 40
"""Ray's socket names grow from its temp folder; above 40 characters parts of it die silently."""
_OWNER = "owner.json"
FOR_ALL = "t"
"""In it: the temp folder of all that runs on the node, as torch's caches."""


def sweep(scratch: Path) -> list[Path]:
    """Remove the temp folders of ours whose node is no longer alive; returns them."""
    gone = []
    for folder in scratch.glob(f"{PREFIX}*"):
        try:
            ours = folder.stat().st_uid == os.getuid() and not folder.is_symlink()
            owner = read_json(folder / _OWNER) if ours else None
        except (OSError, ValueError):
            continue  # It went while we looked, or is not ours to read.
        if owner and not is_alive(ProcessIdentity(**owner)):
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
    return gone


def owners(scratch: Path) -> set[tuple[int, int]]:
    """The users, with their groups, who have temp folders of that kind there."""
    found = set()
    for folder in scratch.glob(f"{PREFIX}*"):
        with suppress(FileNotFoundError):  # it went while we looked
            what = folder.lstat()
            found.add((what.st_uid, what.st_gid))
    return found


@contextmanager
def private_temp(scratch: Path) -> Iterator[Path]:
    """A 0700 folder for this node, removed at the end.

    Ray makes its own folders 0777 whatever the umask; the one above keeps others out.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=scratch))
    if len(str(folder / "r")) > MAX_TEMP_PATH:
        folder.rmdir()
        raise LabkitError(
            f"The scratch folder {scratch} has too long a path for Ray's sockets: it may have "
            f"{MAX_TEMP_PATH - len(PREFIX) - 11} characters. Set the key 'scratch' in labkit.toml."
        )
    owner = identify(os.getpid())
    assert owner is not None, "this process lives"
    write_json(folder / _OWNER, vars(owner))
    (folder / FOR_ALL).mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
