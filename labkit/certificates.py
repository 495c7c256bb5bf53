"""Certificates: an authority of one's own, and the pairs that it signs (RFC 5280)."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

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

from labkit.paths import write_private

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


def pair_files(folder: Path, name: str) -> tuple[Path, Path]:
    """Where a pair of that name lies: key, certificate."""
    return folder / f"{name}.key", folder / f"{name}.crt"


def write_pair(folder: Path, name: str, pair: Pair) -> None:
    """For the owner alone."""
    key, certificate = pair_files(folder, name)
    write_private(key, pair.key_pem)
    write_private(certificate, pair.certificate_pem)


def read_pair(key: Path, certificate: Path) -> Pair:
    loaded = load_pem_private_key(key.read_bytes(), password=None)
    assert isinstance(loaded, Key)
    return Pair(loaded, x509.load_pem_x509_certificate(certificate.read_bytes()))


def make_authority(name: str, valid_for: timedelta) -> Pair:
    """One that signs pairs, and no other authorities (RFC 5280, 4.2.1)."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = dict.fromkeys(
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "encipher_only decipher_only".split(),
        False,
    )
    builder = (
        _builder(name, name, key, valid_for, issuer_key=key)
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
