"""TLS between hub, proxy and sessions: JupyterHub's `internal_ssl`, made for jobs on nodes.

The authorities are the site's and last, so that neither a hub that starts again nor the end of
a certificate cuts a session off; JupyterHub makes pairs of its own from them at each start. A
session's pair is made in memory and travels with its job: no key of a session is a file of the
hub's.
"""

import asyncio
import ipaddress
from collections.abc import Iterable, Mapping
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from certipy import Certipy
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from labkit.certificates import make_authority, pair_files, read_pair, sign, write_pair
from labkit.errors import LabkitError
from labkit.paths import private_folder, write_private
from labkit.settings import Hub, Site
from labkit_spawners.ask_hub import tls_context
from labkit_spawners.submit import MAX_PEM, Certificates

AUTHORITIES = ("hub-ca", "proxy-api-ca", "proxy-client-ca", "notebooks-ca", "services-ca")
"""As JupyterHub names them."""
SESSIONS = "notebooks-ca"
_PROXY = {
    # Only the hub gives the proxy orders; the proxy asks the hub and sessions.
    "proxy-api": ("hub-ca",),
    "proxy-client": ("hub-ca", SESSIONS),
}
"""The proxy's two pairs, and whom each trusts."""
_HERE = ("localhost", "127.0.0.1", "::1")

_YEAR = timedelta(days=365)
_AUTHORITY_FOR, _PROXY_FOR, _SESSION_FOR = 30 * _YEAR, 5 * _YEAR, 2 * _YEAR
"""A session's begins when its job is submitted, which may wait long."""
_SHOWN_WITHIN_S = 10


def prepare_certificates(site: Site) -> None:
    """Make the authorities that are missing, and the proxy's pairs anew. Before it starts."""
    folder = private_folder(_folder(site))
    for name in AUTHORITIES:
        if not all(file.exists() for file in pair_files(folder, name)):
            write_pair(folder, name, make_authority(name, _AUTHORITY_FOR))
    for name, trusted in _PROXY.items():
        authority = read_pair(*pair_files(folder, f"{name}-ca"))
        write_pair(folder, name, sign(name, authority, _HERE, _PROXY_FOR))
        bundle = "".join(pair_files(folder, authority)[1].read_text() for authority in trusted)
        write_private(_bundle(folder, name), bundle)


def authority_files(site: Site) -> dict[str, dict[str, str]]:
    """Where they lie, as JupyterHub's `external_ssl_authorities` has it."""
    found = {name: pair_files(_folder(site), name) for name in AUTHORITIES}
    return {name: {"key": str(k), "cert": str(c), "ca": str(c)} for name, (k, c) in found.items()}


def hub_names(hub: Hub) -> list[str]:
    """Under which names the hub is asked from elsewhere, as OpenSSL writes them."""
    try:
        internal = f"IP:{ipaddress.ip_address(hub.internal_address)}"
    except ValueError:
        internal = f"DNS:{hub.internal_address}"
    # The hub answers for sessions that do not run, under their people's names.
    people = f"DNS:*.{urlsplit(hub.subdomain_host).hostname}"
    return [internal, people] if hub.subdomain_host else [internal]


def proxy_options(site: Site) -> list[str]:
    """What configurable-http-proxy is told; sessions must show a certificate, and so must the hub.

    `api` is where it takes orders, `client` what it is to the hub and to sessions.
    """
    options = []
    for name in _PROXY:
        key, certificate = pair_files(_folder(site), name)
        side = name.removeprefix("proxy-") + "-ssl"
        options += [
            *(f"--{side}-key", str(key), f"--{side}-cert", str(certificate)),
            *(f"--{side}-ca", str(_bundle(_folder(site), name))),
            *(f"--{side}-request-cert", f"--{side}-reject-unauthorized"),
        ]
    return options


def session_certificates(store: str, trusted: str, names: Iterable[str]) -> Certificates:
    """A pair for a session that is asked under those names. Raises LabkitError.

    They are those of all nodes that it may run on, and with subdomains its person's own.
    `store` is the hub's `internal_certs_location`, `trusted` the file of those whom a session
    trusts.
    """
    files = Certipy(store_dir=store).store.get_record(SESSIONS)["files"]
    authority = read_pair(Path(files["key"]), Path(files["cert"]))
    names = sorted(set(names))
    pair = sign("session", authority, names, _SESSION_FOR)
    if len(pair.certificate_pem) > MAX_PEM:
        raise LabkitError(
            f"The session may run on {len(names)} nodes, more than a certificate can name. Whoever "
            "runs this lab can give the profile a partition of fewer nodes."
        )
    return Certificates(
        key=pair.key_pem, certificate=pair.certificate_pem, trusted=Path(trusted).read_text()
    )


def fingerprint_of(certificates: Certificates) -> str:
    """Tells a session's certificate from all others."""
    loaded = x509.load_pem_x509_certificate(certificates.certificate.encode())
    return loaded.fingerprint(SHA256()).hex()


async def fingerprint_at(host: str, port: int, hub: Mapping[str, Any]) -> str:
    """Of the certificate that is shown there; '' where none of ours is. `hub`: its settings."""
    names = ("internal_ssl_key", "internal_ssl_cert", "internal_ssl_ca")
    context = tls_context(*(hub[name] for name in names))
    try:
        async with asyncio.timeout(_SHOWN_WITHIN_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except OSError:
        return ""
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return sha256(shown).hexdigest()


def _folder(site: Site) -> Path:
    return site.state / "hub" / "certificates"


def _bundle(folder: Path, name: str) -> Path:
    return folder / f"{name}-trusts.crt"
