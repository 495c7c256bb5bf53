"""How a session, and a service of the hub's, ask the hub: by its token, over TLS where it is on.

Standard library only: it is imported beside every session. A session's certificates come in
one variable and are kept in memory, as files that only its own processes can open.
"""

import http.client
import json
import os
import ssl
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

CERTIFICATES = "LABKIT_SESSION_CERTIFICATES"
"""The variable: a JSON object of 'key', 'certificate' and 'trusted', each PEM."""
_FILES = {
    "key": "JUPYTERHUB_SSL_KEYFILE",
    "certificate": "JUPYTERHUB_SSL_CERTFILE",
    "trusted": "JUPYTERHUB_SSL_CLIENT_CA",
}
"""Where JupyterHub looks for the names of their files."""


@dataclass(frozen=True)
class HubAnswer:
    status: int
    body: bytes


def ask_hub(
    method: str, path: str, body: object = None, *, timeout_s: float = 10
) -> HubAnswer | None:
    """The answer of the hub's API at that path; None where the hub does not answer."""
    hub = urlsplit(os.environ["JUPYTERHUB_API_URL"])
    headers = {
        "Authorization": f"token {os.environ['JUPYTERHUB_API_TOKEN']}",
        "Content-Type": "application/json",
    }
    where: tuple[str, int | None] = (hub.hostname or "", hub.port)
    connection = (
        http.client.HTTPSConnection(*where, timeout=timeout_s, context=_tls())
        if hub.scheme == "https"
        else http.client.HTTPConnection(*where, timeout=timeout_s)
    )
    try:
        connection.request(method, hub.path + path, json.dumps(body), headers)
        answer = connection.getresponse()
        return HubAnswer(answer.status, answer.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _tls() -> ssl.SSLContext | None:
    return tls_context(*(os.environ[name] for name in _FILES.values()))


@cache
def tls_context(
    keyfile: str,
    certfile: str,
    cafile: str | None = None,
    *,
    purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH,
) -> ssl.SSLContext | None:
    """Each side shows a certificate, and ours alone are trusted. None where there is no key."""
    if not keyfile or not certfile:
        return None
    context = ssl.create_default_context(purpose, cafile=cafile)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certfile, keyfile)
    return context


def trust_ours_alone() -> None:
    """Have JupyterHub, as hub or as session, take that for its own `make_ssl_context`.

    Which trusts whom this machine trusts, too, and reads all of those anew at each request: 20 ms
    in which a hub does nothing else.
    """
    import jupyterhub.utils  # noqa: F401  those who take it from there do so later

    for name, module in list(sys.modules.items()):
        if name.startswith("jupyterhub.") and hasattr(module, "make_ssl_context"):
            module.make_ssl_context = tls_context  # type: ignore[attr-defined]


def keep_certificates(environment: MutableMapping[str, str]) -> None:
    """Put what came in the variable where JupyterHub finds it. Nothing where none came.

    They are files without a name (memfd_create(2)): on no disk, gone with this process however
    it ends, and closed to other users, who may not look into /proc/PID/fd.
    """
    if CERTIFICATES not in environment:
        return
    given: dict[str, Any] = json.loads(environment.pop(CERTIFICATES))
    for part, variable in _FILES.items():
        file = os.memfd_create(part)  # not inherited: kernels open it by this process's id
        os.write(file, given[part].encode())
        environment[variable] = f"/proc/{os.getpid()}/fd/{file}"
