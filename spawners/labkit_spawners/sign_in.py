"""The demo's sign-in: a few names that share one password, kept in a file of the site's."""

import asyncio
import time
from pathlib import Path
from typing import Any

from jupyterhub.authenticators.shared import SharedPasswordAuthenticator
from traitlets import Unicode

FREE_TRIES = 3
MAX_WAIT_S = 10.0
FORGET_AFTER_S = 300.0


class DemoAuthenticator(SharedPasswordAuthenticator):
    """JupyterHub's shared password, read from a file; after wrong ones each try waits longer."""

    password_file = Unicode(help="The file that holds the password, mode 0600.").tag(config=True)

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.user_password = Path(self.password_file).read_text("utf-8").strip()
        self._wrong: dict[str, tuple[int, float]] = {}

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any] | None:
        # All names share the password, so all guesses are guesses at one thing.
        await asyncio.sleep(self._wait_s())
        # JupyterHub's comparison fails on other letters; no password of ours has any.
        found = await super().authenticate(handler, data) if data["password"].isascii() else None
        tries = 0 if found else self._tries() + 1
        self._wrong["all"] = (tries, time.monotonic())
        return found

    def _tries(self) -> int:
        tries, when = self._wrong.get("all", (0, 0.0))
        return tries if time.monotonic() - when < FORGET_AFTER_S else 0

    def _wait_s(self) -> float:
        over = self._tries() - FREE_TRIES
        return 0.0 if over < 0 else min(0.5 * 2.0**over, MAX_WAIT_S)
