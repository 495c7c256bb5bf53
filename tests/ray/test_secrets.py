"""A node's Ray asks everybody for its secrets: neighbours, strangers, and at every port."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from labkit.certificates import make_authority, pair_files, sign, write_pair
from labkit.raycluster.secrets import secret_environment
from tests.ray.doors import greeting, knock, without_certificate
from tests.ray.node import ASK, HOLD, left_of, start_node
from tests.waiting import wait_for

DAY = timedelta(days=1)


def test_two_clusters_share_a_machine_and_keep_each_other_out(folder: Path) -> None:
    one, two = start_node(folder, HOLD, "a"), start_node(folder, HOLD, "b")
    try:
        assert one.stdout and two.stdout
        said = [json.loads(node.stdout.readline()) for node in (one, two) if node.stdout]
        assert said[0]["address"] != said[1]["address"]
        of_a, of_b = secrets_of(folder, "a"), secrets_of(folder, "b")
        for name in ("RAY_AUTH_TOKEN_PATH", "RAY_TLS_SERVER_KEY"):
            assert of_a[name] != of_b[name]
        # Of her own cluster's secrets one alone is another's.
        mixed = of_a | {"RAY_AUTH_TOKEN_PATH": of_b["RAY_AUTH_TOKEN_PATH"]}
        no_token = {name: value for name, value in of_a.items() if "TLS" in name}
        strangers = [as_stranger(folder, said[0]["address"], one) for one in (mixed, no_token)]
        assert not greeting(said[0]["address"], certificate_of(of_b))
        welcome, complaint = as_stranger(folder, said[0]["address"], of_a).communicate(timeout=60)
        assert "42" in welcome, complaint
        for stranger in strangers:  # Ray asks again for half a minute who does not speak to it
            answer, _ = stranger.communicate(timeout=90)
            assert stranger.returncode != 0 and "42" not in answer
        assert_private(folder)
    finally:
        for node in (one, two):
            node.terminate()
            node.communicate(timeout=30)
    wait_for(lambda: not left_of(folder), "every process of both nodes to end", 10)
    assert [path.name for path in folder.iterdir() if path.name.startswith("lk")] == []


def secrets_of(folder: Path, name: str) -> dict[str, str]:
    """What a process of that cluster finds in its environment."""
    head = json.loads((folder / name / "address.json").read_text())
    return secret_environment(folder / name / "token", Path(head["temp"]))


def as_stranger(folder: Path, address: str, secrets: Mapping[str, str]) -> subprocess.Popen[str]:
    """Join the cluster at that address with some secrets, or none."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "RAY_ADDRESS": address}
    environment |= secrets
    code = ASK.replace("ray.init(", "ray.init(_temp_dir=None, ")
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_private(folder: Path) -> None:
    """What another user would have to read is theirs to read nowhere."""
    for name in ("a", "b"):
        assert (folder / name).stat().st_mode & 0o777 == 0o700
        assert (folder / name / "token").stat().st_mode & 0o777 == 0o600
        # Nobody is given a certificate once all nodes have one.
        assert not (folder / name / "authority.key").exists()
    for temp in folder.glob("lk*"):
        assert temp.stat().st_mode & 0o777 == 0o700
    token = (folder / "a" / "token").read_text()
    for pid in left_of(folder):
        assert token.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert token.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    logs = [path for path in folder.glob("lk*/**/*") if path.is_file()]
    assert logs
    assert not [path for path in logs if token.encode() in path.read_bytes()]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can play another user")
def test_another_user_reads_nothing(folder: Path) -> None:
    folder.chmod(0o755)
    node = start_node(folder, HOLD)
    try:
        assert node.stdout
        node.stdout.readline()
        tries = f"""
import os, socket
found = []
for place in ({str(folder / "a")!r}, {str(folder / "a" / "token")!r},
              *[os.path.join({str(folder)!r}, n) for n in os.listdir({str(folder)!r})]):
    try:
        os.listdir(place) if os.path.isdir(place) else open(place).read()
        found.append(place)
    except OSError:
        pass
for pid in os.listdir("/proc"):
    if pid.isdigit():
        try:
            if b"LABKIT_TEST_NODE" in open(f"/proc/{{pid}}/environ", "rb").read():
                found.append(pid)
        except OSError:
            pass
print(found)
"""
        stranger = {"user": 65534, "group": 65534, "extra_groups": []}
        seen = subprocess.run(
            ["/usr/bin/python3", "-c", tries],
            capture_output=True,
            text=True,
            timeout=30,
            **stranger,
        )
        assert seen.stdout.strip() == "[]", seen.stdout + seen.stderr
    finally:
        node.terminate()
        node.communicate(timeout=30)


def certificate_of(secrets: Mapping[str, str]) -> ssl.SSLContext:
    """Who has these secrets, and asks no more of whom it talks to than that it speaks TLS."""
    context = without_certificate()
    context.load_cert_chain(secrets["RAY_TLS_SERVER_CERT"], secrets["RAY_TLS_SERVER_KEY"])
    return context


def listening(folder: Path) -> list[str]:
    """Where the node's processes take connections, as 'host:port'."""
    found = set()
    for pid in left_of(folder):
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                host = connection.laddr.ip.removeprefix("::ffff:")
                host = "127.0.0.1" if host in ("::", "0.0.0.0") else host
                found.add(f"{host}:{connection.laddr.port}")
    return sorted(found)


def test_every_port_asks_for_a_certificate_or_the_token(folder: Path) -> None:
    """All but Ray's meters, which take no orders."""
    node = start_node(folder, HOLD, more=["--dashboard"])
    try:
        assert node.stdout
        node.stdout.readline()
        mine = certificate_of(secrets_of(folder, "a"))
        theirs = without_certificate()
        pair = sign("node", make_authority("stranger", DAY), ["127.0.0.1"], DAY)
        write_pair(folder, "stranger", pair)
        key, certificate = pair_files(folder, "stranger")
        theirs.load_cert_chain(certificate, key)
        addresses = listening(folder)
        encrypted = [address for address in addresses if greeting(address, mine)]
        # GCS, raylet, driver and worker, at the least.
        assert len(encrypted) >= 4
        for address in encrypted:
            assert knock(address) == "refused" and not greeting(address, theirs)
        for address in set(addresses) - set(encrypted):
            assert knock(address) in ("401", "405"), address
    finally:
        node.terminate()
        node.communicate(timeout=30)


def test_a_site_may_do_without_tls_but_not_without_the_token(folder: Path) -> None:
    code = f"{ASK}\nprint(*sorted(name for name in os.environ if name.startswith('RAY_')))"
    out, err = start_node(folder, code, more=["--no-tls"]).communicate(timeout=90)
    assert "42" in out, err
    assert "RAY_AUTH_TOKEN_PATH" in out and "TLS" not in out
