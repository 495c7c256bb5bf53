"""What the hub knows of each session, on disk before its job is submitted.

JupyterHub keeps a session's state only once it has started. Were that all, a hub that ends
while a job waits in the queue would forget the job, and start a second one.
"""

import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from labkit.errors import DamagedFile
from labkit.paths import list_folder, private_folder, read_json, write_json, write_private

_DEFAULT_SERVER = "_"
"""No named server is called so: their names are of [a-z0-9-] since JupyterHub 6."""


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """One session, from the moment before its submission until its end."""

    user: str
    server: str
    """'' for a person's first server."""
    profile: str
    cluster: str
    nonce: str
    """Tells this start from all others; the job must show it."""
    api_token: str
    certificate: str = ""
    """The fingerprint of the one that it was given; '' where there is no TLS between them."""
    job_id: str = ""
    """'' while it is being submitted."""
    host: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    """What was asked, as `SessionOptions` reads it, so that it can be asked for again."""
    port: int = 0
    """Where it listens; 0 while it starts."""
    created: float = 0.0
    """Seconds since the epoch; 0 in what an earlier labkit wrote."""
    started: bool = False
    """The hub has had its answer once: it is no longer the hub's to start."""

    @property
    def waits(self) -> bool:
        """It has a job, and it is for a hub to take it up and wait for its answer."""
        return bool(self.job_id) and not self.started


class SessionRecords:
    """A folder with one file for each session, 0600: they hold the sessions' tokens."""

    def __init__(self, folder: Path):
        self.folder = folder

    def create(
        self,
        *,
        user: str,
        server: str,
        profile: str,
        cluster: str,
        api_token: str,
        nonce: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> SessionRecord:
        record = SessionRecord(
            user=user,
            server=server,
            profile=profile,
            cluster=cluster,
            nonce=nonce or secrets.token_urlsafe(16),
            api_token=api_token,
            options=dict(options or {"profile": profile}),
            created=time.time(),
        )
        self.write(record)
        self._file(user, server).with_suffix(".ended").unlink(missing_ok=True)
        return record

    def update(self, record: SessionRecord, **changes: object) -> SessionRecord:
        changed = replace(record, **changes)  # type: ignore[arg-type]
        self.write(changed)
        return changed

    def write(self, record: SessionRecord) -> None:
        file = self._file(record.user, record.server)
        private_folder(file.parent)
        write_json(file, asdict(record))

    def get(self, user: str, server: str) -> SessionRecord | None:
        return _read(self._file(user, server))

    def is_waiting(self, user: str, server: str) -> bool:
        """Whether it was submitted and has not answered yet."""
        try:
            record = self.get(user, server)
        except DamagedFile:
            return False
        return record is not None and record.waits

    def all(self) -> list[SessionRecord]:
        """Those that can be read; a damaged one is told when its own session starts."""
        files = (file for folder in list_folder(self.folder) for file in folder.glob("*.json"))
        found = []
        for file in files:
            with suppress(DamagedFile):
                found.append(_read(file))
        return [record for record in found if record]

    def damaged(self) -> list[str]:
        """A sentence for each record that cannot be read."""
        files = (file for folder in list_folder(self.folder) for file in folder.glob("*.json"))
        sentences = []
        for file in files:
            try:
                _read(file)
            except DamagedFile as error:
                sentences.append(str(error))
        return sentences

    def remove(self, record: SessionRecord) -> None:
        """Forget it, unless another start has taken its place."""
        kept = self.get(record.user, record.server)
        if kept is not None and kept.nonce == record.nonce:
            self._file(record.user, record.server).unlink(missing_ok=True)

    def tell(self, record: SessionRecord, sentence: str) -> None:
        """Keep why the session ended, for when its person comes back."""
        write_private(self._file(record.user, record.server).with_suffix(".ended"), sentence)

    def told(self, user: str, server: str) -> str:
        """Why the last session ended by itself; '' where it did not."""
        try:
            return self._file(user, server).with_suffix(".ended").read_text("utf-8")
        except FileNotFoundError:
            return ""

    def _file(self, user: str, server: str) -> Path:
        return self.folder / _name(user) / f"{_name(server) or _DEFAULT_SERVER}.json"


def _name(text: str) -> str:
    # 'quote' leaves dots alone, and '.' and '..' are no names for a folder of ours.
    return quote(text, safe="").replace(".", "%2E")


def _read(file: Path) -> SessionRecord | None:
    found = read_json(file)
    if found is None:
        return None
    known = {field.name for field in fields(SessionRecord)}
    try:
        return SessionRecord(**{key: value for key, value in found.items() if key in known})
    except TypeError as error:
        raise DamagedFile(f"{file} is damaged: {error}. Remove it; the session is lost.") from error
