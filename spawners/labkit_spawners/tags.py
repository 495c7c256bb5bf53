"""By what this hub knows its sessions' jobs again, even those that it has no record of.

A job shows its tag to everybody; the nonce that begins with it is for hub and session alone.
Each tag carries a seal that only this hub can make. So the job of another hub on the same
Slurm, or one whose owner wrote something like our comment, is never taken for ours. Somebody
who copies a tag into a job of their own wins nothing: a job must also be its person's.
"""

import getpass
import hashlib
import hmac
import secrets
from pathlib import Path

from labkit.paths import private_folder, write_private_bytes
from labkit.schedulers.base import JobInfo
from labkit.settings import Site
from labkit_spawners.records import SessionRecord

_HALF = 16
"""A tag is so many letters at random, and as many of the seal."""
_SECRET_BYTES = 32


def tag_of(nonce: str) -> str:
    """What a scheduler may show of the nonce, which itself only the session and the hub know."""
    if len(nonce) <= 2 * _HALF:  # of a session that an earlier labkit started
        return hashlib.sha256(nonce.encode()).hexdigest()[:32]
    return nonce[: 2 * _HALF]


class SessionTags:
    """The tags of one hub: that which its sessions reach at one address, with one secret."""

    def __init__(self, secret_file: Path, hub: str):
        # A copy of our folder, on a machine for trials say, is another hub at another address.
        self._key = _secret(secret_file) + hub.encode()

    def new_nonce(self) -> str:
        drawn = secrets.token_hex(_HALF // 2)
        return drawn + self._seal(drawn) + secrets.token_urlsafe(16)

    def issued(self, tag: str) -> bool:
        """Whether the tag is of a session that this hub has started, whenever that was."""
        drawn, seal = tag[:_HALF], tag[_HALF:]
        return hmac.compare_digest(seal.encode(), self._seal(drawn).encode())

    def _seal(self, drawn: str) -> str:
        return hmac.new(self._key, drawn.encode(), hashlib.sha256).hexdigest()[:_HALF]


def tags_of(site: Site) -> SessionTags:
    hub = site.hub
    return SessionTags(
        site.state / "sessions" / ".secret", f"{hub.internal_address}:{hub.internal_port}"
    )


def is_job_of(record: SessionRecord, job: JobInfo, *, as_hub: bool) -> bool:
    """Not another job that was given the same id: schedulers count from the start again.

    `as_hub`: that person's sessions are jobs of the hub's own Unix user.
    """
    owners = {"", record.user, getpass.getuser() if as_hub else ""}
    return job.tag == tag_of(record.nonce) and job.user in owners


def _secret(file: Path) -> bytes:
    """Drawn once; a file that is too short is no secret, so another takes its place."""
    if not file.exists() or len(file.read_bytes()) < _SECRET_BYTES:
        private_folder(file.parent)
        write_private_bytes(file, secrets.token_bytes(_SECRET_BYTES))
    return file.read_bytes()
