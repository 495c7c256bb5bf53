"""TLS between hub, proxy and sessions: JupyterHub's `internal_ssl`, made for jobs on nodes.

The authorities are the site's and last, so that neither a hub that starts again nor the end of
a certificate cuts a session off; JupyterHub makes pairs of its own from them at each start. A
session's pair is made in memory and travels with its job: no key of a session is a file of the
hub's.
"""

import asyncio
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from certipy import Certipy
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

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
_BEHIND = timedelta(days=1)
"""How far a node's clock may be behind."""


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
"""The latter where a hub that is not labkit's own has made its authorities."""


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate."""

    key: Key
    certificate: x509.Certificate

    @property
    def key_pem(self) -> str:
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return pem.decode()

    @property
    def certificate_pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()


def prepare_certificates(site: Site) -> None:
    """Make the authorities that are missing, and the proxy's pairs anew. Before it starts."""
    folder = private_folder(_folder(site))
    for name in AUTHORITIES:
        if not all(file.exists() for file in _files(folder, name)):
            _write(folder, name, make_authority(name))
    for name, trusted in _PROXY.items():
        _write(folder, name, sign(name, _read(*_files(folder, f"{name}-ca")), _HERE, _PROXY_FOR))
        bundle = "".join(_files(folder, authority)[1].read_text() for authority in trusted)
        write_private(_bundle(folder, name), bundle)


def authority_files(site: Site) -> dict[str, dict[str, str]]:
    """Where they lie, as JupyterHub's `external_ssl_authorities` has it."""
    found = {name: _files(_folder(site), name) for name in AUTHORITIES}
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
        key, certificate = _files(_folder(site), name)
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
    authority = _read(Path(files["key"]), Path(files["cert"]))
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


def make_authority(name: str) -> Pair:
    """One that signs pairs, and no other authorities (RFC 5280, 4.2.1)."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = dict.fromkeys(
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "encipher_only decipher_only".split(),
        False,
    )
    builder = (
        _builder(name, name, key, _AUTHORITY_FOR, issuer_key=key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Pair(key, builder.sign(key, SHA256()))


def sign(name: str, authority: Pair, names: Sequence[str], valid_for: timedelta) -> Pair:
    """A new pair that may serve under those names and addresses, and ask as a client."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    sides = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(name, str(issuer), key, valid_for, issuer_key=authority.key)
        .add_extension(x509.ExtendedKeyUsage(sides), critical=True)
        .add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=False)
    )
    return Pair(key, builder.sign(authority.key, SHA256()))


def _builder(
    name: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    valid_for: timedelta,
    *,
    issuer_key: Key,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEHIND)
        .not_valid_after(now + valid_for)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _folder(site: Site) -> Path:
    return site.state / "hub" / "certificates"


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    """Of the key and of the certificate."""
    return folder / f"{name}.key", folder / f"{name}.crt"


def _bundle(folder: Path, name: str) -> Path:
    return folder / f"{name}-trusts.crt"


def _write(folder: Path, name: str, pair: Pair) -> None:
    key, certificate = _files(folder, name)
    write_private(key, pair.key_pem)
    write_private(certificate, pair.certificate_pem)


def _read(key: Path, certificate: Path) -> Pair:
    loaded = load_pem_private_key(key.read_bytes(), password=None)
    assert isinstance(loaded, Key)
    return Pair(loaded, x509.load_pem_x509_certificate(certificate.read_bytes()))
