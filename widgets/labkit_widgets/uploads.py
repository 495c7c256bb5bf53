"""Uploads: the browser writes into the server's folder, and we make sure that it is the home.

A message of more than 10 MiB ends a kernel's connection, so a table goes through Jupyter's
contents API in chunks. Each upload first gets a new file with a secret in it, which the
browser must find there: so nothing is written where the person's files are not.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from labkit.data.load import FORMATS
from labkit.errors import LabkitError, UsageError, known_names
from labkit_widgets.home import OURS, take_name, written

_ELSEWHERE = (
    "This Jupyter server keeps its files in {root}, not in your home folder {home}. "
    "Nothing was uploaded. Copy the table into your home folder, and pick it here."
)


@dataclass(frozen=True, kw_only=True)
class Upload:
    ticket: str
    path: Path
    size: int
    purpose: str
    secret: str
    url: str
    """Relative to the server's root folder."""


class Uploads:
    """The uploads that browsers are busy with."""

    def __init__(self) -> None:
        self.root: Path | None = None
        self._open: dict[str, Upload] = {}

    def server_path(self, path: Path) -> str | None:
        """The path as the server's URLs have it; None where the server does not reach it."""
        if self.root is None:
            return None
        for root, place in ((self.root, path), (self.root.resolve(), path.resolve())):
            if place.is_relative_to(root):
                return place.relative_to(root).as_posix()
        return None

    def begin(self, name: str, size: int, purpose: str) -> Upload:
        """A place for a new upload. Raises LabkitError where there is none."""
        if Path(name).suffix.lower() not in FORMATS:
            raise UsageError(
                f"{name!r} is no table that labkit reads. It reads files that end in "
                f"{known_names(FORMATS)}."
            )
        folder = Path.home() / OURS / "uploads"
        if self.server_path(folder) is None:
            root = self.root or "a folder that it does not name"
            raise LabkitError(_ELSEWHERE.format(root=root, home=Path.home()))
        secret = secrets.token_hex(16)
        path = take_name(folder, name, secret.encode())
        upload = Upload(
            ticket=secrets.token_hex(8), path=path, size=size, purpose=purpose, secret=secret,
            url=self.server_path(path) or "",
        )  # fmt: skip
        self._open[upload.ticket] = upload
        return upload

    def end(self, ticket: str) -> Upload:
        """The upload that a browser says is done. Raises LabkitError where it is not whole."""
        upload = self._open.pop(ticket, None)
        if upload is None:
            raise LabkitError("That upload is not known any more. Upload the file again.")
        try:
            os.chmod(upload.path, 0o600)
            found = upload.path.stat().st_size
        except OSError as error:
            raise LabkitError(f"{written(upload.path)} is not there: {error.strerror}.") from error
        if found != upload.size:
            upload.path.unlink(missing_ok=True)
            raise LabkitError(
                f"Only {found:,} of {upload.size:,} bytes of {upload.path.name} arrived. "
                "Upload it again."
            )
        return upload

    def give_up(self, ticket: str) -> str:
        """Remove what there is of an upload that failed; its file's name."""
        upload = self._open.pop(ticket, None)
        if upload is None:
            return "The file"
        upload.path.unlink(missing_ok=True)
        return upload.path.name
