"""Who speaks TLS with whom: real handshakes between what hub, proxy and sessions are given."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from certipy import Certipy

from labkit.errors import LabkitError
from labkit.settings import Hub, Site
from labkit_spawners.ask_hub import CERTIFICATES, tls_context
from labkit_spawners.certificates import (
    AUTHORITIES,
    authority_files,
    hub_names,
    prepare_certificates,
    session_certificates,
)
from labkit_spawners.submit import MAX_PEM, Certificates


@pytest.fixture
def folder(site: Site) -> Path:
    prepare_certificates(site)
    return site.state / "hub" / "certificates"


@pytest.fixture
def store(site: Site, folder: Path, tmp_path: Path) -> str:
    """JupyterHub's own, which holds our authorities."""
    store = Certipy(store_dir=str(tmp_path / "internal-ssl")).store
    for name, files in authority_files(site).items():
        store.add_record(name, is_ca=True, files=files)
    return store.containing_dir


@pytest.fixture
def trusted(folder: Path, tmp_path: Path) -> str:
    """Whom sessions trust, as JupyterHub has it: the hub and the proxy, not each other."""
    bundle = tmp_path / "notebooks-ca_trust.crt"
    names = ("hub-ca", "proxy-client-ca")
    bundle.write_text("".join((folder / f"{name}.crt").read_text() for name in names))
    return str(bundle)


def saved(certificates: Certificates, folder: Path) -> dict[str, str]:
    folder.mkdir()
    for part, text in certificates.model_dump().items():
        (folder / part).write_text(text)
    return {
        "key": str(folder / "key"),
        "certificate": str(folder / "certificate"),
        "trusted": str(folder / "trusted"),
    }


def handshake(server: dict[str, str], client: dict[str, str] | None, name: str) -> bool:
    """Whether the client, asking under that name, and the server take each other."""
    ours, theirs = socket.socketpair()
    heard = []

    def serve() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=server["trusted"])
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(server["certificate"], server["key"])
        try:
            with context.wrap_socket(theirs, server_side=True) as connection:
                heard.append(connection.recv(2))
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    context = ssl.create_default_context(cafile=(client or server)["trusted"])
    if client:
        context.load_cert_chain(client["certificate"], client["key"])
    else:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with context.wrap_socket(ours, server_hostname=name) as connection:
            connection.send(b"hi")
    except OSError:
        ours.close()
    thread.join()
    return heard == [b"hi"]


def pair(folder: Path, name: str) -> dict[str, str]:
    return {
        "key": str(folder / f"{name}.key"),
        "certificate": str(folder / f"{name}.crt"),
        "trusted": str(folder / f"{name}-trusts.crt"),
    }


def test_the_proxy_and_a_session_take_each_other_and_nobody_else(store, trusted, folder, tmp_path):
    alice = saved(session_certificates(store, trusted, ["n1", "10.0.0.7"]), tmp_path / "alice")
    bob = saved(session_certificates(store, trusted, ["n1"]), tmp_path / "bob")
    proxy = pair(folder, "proxy-client")
    assert handshake(alice, proxy, "n1")
    assert handshake(alice, proxy, "10.0.0.7")
    assert not handshake(alice, proxy, "127.0.0.1"), "it is not what listens there"
    assert not handshake(alice, proxy, "n2"), "a node that it may not run on"
    assert not handshake(alice, None, "n1"), "without a certificate"
    assert not handshake(alice, bob, "n1"), "with that of another session"
    assert not handshake(pair(folder, "proxy-api"), alice, "127.0.0.1"), "orders to the proxy"


def test_hub_and_sessions_trust_ours_alone(folder):
    import jupyterhub.user

    import labkit_spawners.spawner  # noqa: F401  a hub imports it

    assert jupyterhub.user.make_ssl_context is tls_context
    proxy = pair(folder, "proxy-client")
    for purpose in (ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH):
        context = tls_context(proxy["key"], proxy["certificate"], proxy["trusted"], purpose=purpose)
        assert context is not None and context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname == (purpose is ssl.Purpose.SERVER_AUTH)
        subjects: list[Any] = [each["subject"] for each in context.get_ca_certs()]
        names = {dict(subject[0])["commonName"] for subject in subjects}
        assert names == {"hub-ca", "notebooks-ca"}
    assert tls_context("", "", "") is None


def test_authorities_stay_and_are_for_the_owner_alone(site, folder):
    before = {name: (folder / f"{name}.key").read_bytes() for name in AUTHORITIES}
    proxys = (folder / "proxy-client.crt").read_bytes()
    prepare_certificates(site)
    assert before == {name: (folder / f"{name}.key").read_bytes() for name in AUTHORITIES}
    assert proxys != (folder / "proxy-client.crt").read_bytes(), "the proxy's is made anew"
    assert folder.stat().st_mode & 0o77 == 0
    assert all(file.stat().st_mode & 0o77 == 0 for file in folder.iterdir())


def test_more_nodes_than_a_certificate_can_name(store, trusted):
    assert len(session_certificates(store, trusted, nodes(3000)).certificate) < MAX_PEM
    with pytest.raises(LabkitError, match="more than a certificate can name"):
        session_certificates(store, trusted, nodes(9000))


def nodes(count: int) -> list[str]:
    return [f"node{number:05}" for number in range(count)]


def test_a_certificate_for_thousands_of_nodes_is_taken(store, trusted, folder, tmp_path):
    session = saved(session_certificates(store, trusted, nodes(3000)), tmp_path / "session")
    assert handshake(session, pair(folder, "proxy-client"), "node02999")


def test_the_hub_is_known_by_the_address_that_nodes_use():
    assert hub_names(Hub(internal_address="192.0.2.8")) == ["IP:192.0.2.8"]
    assert hub_names(Hub(internal_address="2001:db8::8")) == ["IP:2001:db8::8"]
    assert hub_names(Hub(internal_address="login1")) == ["DNS:login1"]


KEEP = """
import os, subprocess, sys
from labkit_spawners.ask_hub import CERTIFICATES, keep_certificates
keep_certificates(os.environ)
assert CERTIFICATES not in os.environ
read = "import os; print(open(os.environ['JUPYTERHUB_SSL_KEYFILE']).read(), end='')"
sys.exit(subprocess.run([sys.executable, "-c", read]).returncode)
"""


def test_certificates_are_in_no_file_and_a_kernel_can_use_them():
    given = json.dumps({"key": "K", "certificate": "C", "trusted": "T"})
    done = subprocess.run(
        [sys.executable, "-c", KEEP],
        env={**os.environ, CERTIFICATES: given},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("K", "")
