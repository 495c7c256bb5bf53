"""Bob on the node where alice's session runs: what he can read, and what her port says to him."""

import json
from collections.abc import Iterator

import pytest

from tests.slurm.slurm_lab import SlurmLab
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def node(lab: SlurmLab) -> Iterator[str]:
    """Where both have a session."""
    alice, bob = lab.browser("alice"), lab.browser("bob")
    for browser in (alice, bob):
        browser.ask("/hub/spawn")
        assert browser.ask("/hub/spawn", form={"profile": "share"}).status == 200
    for name, browser in (("alice", alice), ("bob", bob)):
        wait_for(lambda b=browser, n=name: b.session(n).get("ready"), f"{name}'s session")
        assert browser.ask(f"/user/{name}/lab").status == 200
    assert lab.record("alice")["host"] == lab.record("bob")["host"]
    yield lab.record("alice")["host"]
    for name, browser in (("alice", alice), ("bob", bob)):
        browser.stop_session(name)


KNOCK = """
import glob, json, os, socket, ssl, sys
port = int(sys.argv[1])


def answer(context):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") if context else plain as s:
                s.sendall(b"GET /user/alice/api HTTP/1.0\\r\\n\\r\\n")
                return s.recv(100).decode()
    except OSError as error:
        return f"{type(error).__name__}"


def anybody():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def own_session():
    "With what bob's session has in its memory, which is his."
    files = {}
    for fd in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            target = os.readlink(fd)
        except OSError:
            continue  # another's process
        if target.startswith("/memfd:"):
            files[target.removeprefix("/memfd:").removesuffix(" (deleted)")] = fd
    context = anybody()
    context.load_cert_chain(files["certificate"], files["key"])
    return context


print(json.dumps([answer(None), answer(anybody()), answer(own_session())]))
"""


def test_she_may_call_the_lab_by_any_name(lab: SlurmLab, node: str):
    """The proxy checks the name of the node, not what a browser says."""
    alice = lab.browser("alice")
    for name in ("lab.example.org", "n1", "10.89.0.77", "[::1]:8000"):
        page = alice.ask("/user/alice/lab", headers={"Host": name})
        assert page.status == 200 and "jupyter-config-data" in page.text, (name, page.url)


def test_her_port_does_not_even_take_his_connection(lab: SlurmLab, node: str):
    knock = [lab.cluster.python, "-c", KNOCK]
    for name in ("alice", "bob"):  # nor does his own port
        port = str(lab.record(name)["port"])
        done = lab.cluster.run([*knock, port], user="bob", node=node)
        assert done.returncode == 0, done.stderr
        for said in json.loads(done.stdout):
            assert said == "" or said.startswith(("SSL", "Connection")), said
