"""How the nodes of a job find each other: files of a 0700 folder that all of them see.

- token: the Ray cluster's secret, made by the head
- authority.key, authority.crt: who signs the nodes' certificates, until all have joined
- address.json: where the head listens, once it does, and its dashboard and temp folder
- node-NAME.json: one for each other node that came to join, until it has left
- ended.json: the head's last word
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import LabkitError
from labkit.paths import private_folder, read_json, write_json
from labkit.raycluster.secrets import drop_authority, write_authority, write_token

LOOK_EVERY_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Head:
    """Where the head of a Ray cluster is."""

    address: str
    """'host:port' for Ray's own."""
    temp: str
    """Its temp folder, on its own disk."""
    dashboard: str = ""
    """'host:port' of its dashboard and jobs, on its loopback; '' where there is none."""

    @property
    def environment(self) -> dict[str, str]:
        """By which Ray's programs find it, without an argument."""
        jobs = {"RAY_API_SERVER_ADDRESS": f"http://{self.dashboard}"} if self.dashboard else {}
        return {"RAY_ADDRESS": self.address, **jobs}


@dataclass(frozen=True)
class Rendezvous:
    """The meeting of the nodes of one attempt."""

    folder: Path

    @property
    def token(self) -> Path:
        return self.folder / "token"

    def open(self, *, tls: bool) -> None:
        """Make folder and secrets: the head's part."""
        private_folder(self.folder)
        for left in self.folder.iterdir():
            left.unlink()
        write_token(self.folder)
        if tls:
            write_authority(self.folder)

    def publish(self, head: Head) -> None:
        write_json(self.folder / "address.json", vars(head))

    def head(self) -> Head | None:
        """None before it listens."""
        found = read_json(self.folder / "address.json")
        return Head(**found) if found else None

    def lock(self) -> None:
        """No other node can join any more."""
        drop_authority(self.folder)

    def close(self) -> None:
        """Tell the others that the head has ended, and take the secrets away."""
        self.token.unlink(missing_ok=True)
        self.lock()
        (self.folder / "ended.json").touch(mode=0o600)  # empty, as there may be no room for a word

    @property
    def closed(self) -> bool:
        return (self.folder / "ended.json").exists()

    @contextmanager
    def signed(self, name: str, address: str) -> Iterator[None]:
        """Say that this node came and has not left, as long as the `with` lasts."""
        file = self.folder / f"node-{name}.json"
        write_json(file, {"address": address})
        try:
            yield
        finally:
            file.unlink(missing_ok=True)

    def present(self) -> list[str]:
        """The names of the nodes that came and have not left, besides the head."""
        return sorted(file.stem.removeprefix("node-") for file in self.folder.glob("node-*.json"))

    def wait_until_left(self, timeout_s: float) -> None:
        """Until the others have tidied up: the job ends with the head, and they with the job."""
        deadline = time.monotonic() + timeout_s
        while self.present() and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)

    def wait_for_address(self, timeout_s: float) -> str | None:
        """Where the head listens; None where it ended first. Raises LabkitError after the time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.closed:
                return None
            if head := self.head():
                return head.address
            time.sleep(LOOK_EVERY_S)
        raise LabkitError(
            f"The head of the Ray cluster did not say its address within {timeout_s:g} s in "
            f"{self.folder}. All nodes must see that folder; the head's log says whether it began."
        )
