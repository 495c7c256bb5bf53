"""Ports for those that are to listen a moment later, and are told where."""

import errno
import random
import socket
from pathlib import Path

HIGH = range(32_768, 65_536)
GIVEN_BY_LINUX = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The first and the last port that it gives to whoever asks for any."""


def free_port(host: str = "") -> int:
    """A high port on which nothing listens, if possible none that Linux gives to whoever asks.

    One that it gives may be another's a moment later: Ray's processes ask for dozens before the
    one that this is for listens. `host` is the address to listen at; '' is each of this machine's.
    Raises OSError where it is none of this machine's.
    """
    given = _given_by_linux()
    others = [port for port in HIGH if port not in given]
    for port in [*random.sample(others, len(others)), 0]:  # 0: any, where this machine leaves none
        with socket.socket() as listener:
            try:
                listener.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return listener.getsockname()[1]
    raise OSError(errno.EADDRINUSE, f"no port is free at {host or 'this machine'}")


def _given_by_linux() -> range:
    try:
        first, last = map(int, GIVEN_BY_LINUX.read_text().split())
    except OSError:  # a container may hide it
        first, last = 32_768, 60_999
    return range(first, last + 1)
