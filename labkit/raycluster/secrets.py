"""The secrets of one Ray cluster: made in its job, read by its owner alone.

A token, which every request must show; and TLS on every channel between Ray's processes. Its
authority is made with the cluster and thrown away once all nodes have a certificate from it.
"""

import os
import secrets
from datetime import timedelta
from pathlib import Path

from labkit.certificates import make_authority, pair_files, read_pair, sign, write_pair
from labkit.errors import LabkitError
from labkit.paths import write_private
from labkit.raycluster.network import all_addresses

_AUTHORITY, _NODE = "authority", "node"
_LONGER_THAN_ANY_JOB = timedelta(days=400)


def write_token(folder: Path) -> Path:
    """A new token in the 0700 folder, mode 0600 from its first byte."""
    path = folder / "token"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    return path


def write_authority(folder: Path) -> None:
    """Make the cluster's authority in the 0700 folder that its nodes see."""
    write_pair(folder, _AUTHORITY, make_authority("ray-cluster", _LONGER_THAN_ANY_JOB))


def drop_authority(folder: Path) -> None:
    """Nobody is given a certificate any more."""
    key, _ = pair_files(folder, _AUTHORITY)
    key.unlink(missing_ok=True)


def fetch_certificate(folder: Path, temp: Path) -> None:
    """This node's own pair into its 0700 folder `temp`; none where the cluster has no authority.

    It is for all of the node's addresses: Ray may prefer another to the one that it is given.
    Raises LabkitError where the authority is gone.
    """
    key, certificate = pair_files(folder, _AUTHORITY)
    if not certificate.exists():
        return
    names = [*all_addresses(), "::1", "localhost"]
    try:
        authority = read_pair(key, certificate)
    except FileNotFoundError:
        raise LabkitError(
            "This node came too late: nobody can join its Ray cluster any more."
        ) from None
    pair = sign("ray-node", authority, names, _LONGER_THAN_ANY_JOB)
    write_pair(temp, _NODE, pair)
    write_private(_trusted(temp), certificate.read_text())


def secret_environment(token: Path, temp: Path) -> dict[str, str]:
    """What makes every process of the cluster on this node ask for its secrets, and show them."""
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    key, certificate = pair_files(temp, _NODE)
    if certificate.exists():
        environment |= {
            "RAY_USE_TLS": "1",
            "RAY_TLS_SERVER_KEY": str(key),
            "RAY_TLS_SERVER_CERT": str(certificate),
            "RAY_TLS_CA_CERT": str(_trusted(temp)),
        }
    return environment


def _trusted(temp: Path) -> Path:
    return temp / "trusted.crt"
