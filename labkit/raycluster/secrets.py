"""The secret of one Ray cluster: made in its job, read by its owner alone."""

import os
import secrets
from pathlib import Path


def write_token(folder: Path) -> Path:
    """A new token in the 0700 folder, mode 0600 from its first byte."""
    path = folder / "token"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    return path


def secret_environment(token: Path) -> dict[str, str]:
    """What makes every process of the cluster ask for the token, and show it."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
