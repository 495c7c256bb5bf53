"""The web server in front of a lab, which has the certificate that browsers see."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from labkit.certificates import make_authority, sign
from labkit_spawners.proxy import installed_at, node
from tests.hub.real_lab import free_ports

DOMAIN = "lab.localhost"
"""Chromium resolves all names below 'localhost' to this machine."""


@contextmanager
def web_server(folder: Path, port: int, behind: int) -> Iterator[None]:
    """TLS for the domain and all names below it, in front of what listens on `behind`."""
    names = (DOMAIN, f"*.{DOMAIN}")
    pair = sign("front", make_authority("test", timedelta(days=1)), names, timedelta(days=1))
    (folder / "front.key").write_text(pair.key_pem)
    (folder / "front.crt").write_text(pair.certificate_pem)
    program = installed_at() / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"
    command = [
        *(node(), str(program), "--log-level", "warn"),
        *("--ip", "127.0.0.1", "--port", str(port)),
        *("--ssl-key", str(folder / "front.key"), "--ssl-cert", str(folder / "front.crt")),
        *("--api-ip", "127.0.0.1", "--api-port", str(free_ports(1)[0])),
        *("--default-target", f"http://127.0.0.1:{behind}"),
    ]
    log = folder / "front.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)
