"""`docs/slurm.md`, done as it stands there: settings, groups, sudoers, check, and a sign-in."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.real_lab import Browser
from tests.slurm.cluster import SlurmCluster
from tests.slurm.slurm_lab import SlurmLab
from tests.waiting import wait_for

PAGE = (Path(__file__).parents[2] / "docs" / "slurm.md").read_text(encoding="utf-8")
OF_THIS_CLUSTER = {
    'catalogue = "/opt/labkit-models"': 'catalogue = "~/models"',
    'prologue = ["module load cuda"]': 'prologue = ["true"]',
    'internal_address = "10.1.0.5"': "\n".join(
        [
            'internal_address = "{address}"',
            "port = {port}\ninternal_port = {internal}\nproxy_port = {proxy}",
        ]
    ),
}
"""What a reader changes on the page: software, and addresses where others stand already."""
WORDS = {"alice": "walnut-otter-3", "carol": "maple-heron-8"}
"""Passwords of this cluster's own /etc/shadow."""


def blocks(language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def settings_of_page() -> str:
    text = blocks("toml")[0]
    for theirs, ours in OF_THIS_CLUSTER.items():
        assert theirs in text, f"the page has no {theirs}"
        text = text.replace(theirs, ours)
    return text


@pytest.fixture(scope="module")
def lab(cluster: SlurmCluster) -> Iterator[SlurmLab]:
    etc = cluster.folder / "etc"
    kept = {name: (etc / name).read_text() for name in ("group", "shadow")}
    cluster.output(["chown", "root:shadow", "/etc/shadow"])
    cluster.output(["chmod", "0640", "/etc/shadow"])
    passwords = "".join(f"{name}:{word}\n" for name, word in WORDS.items())
    assert cluster.run(["chpasswd"], input=passwords).returncode == 0
    cluster.output(["gpasswd", "--delete", "carol", "labkit-users"])
    # The class that the page's last profile is for.
    cluster.output(
        ["scontrol", "create", "reservation", "reservationname=class", "users=alice",
         "starttime=now", "duration=1-0", "nodes=n3", "flags=ignore_jobs"]
    )  # fmt: skip
    try:
        yield SlurmLab(cluster, settings=settings_of_page())
    finally:
        cluster.output(["scontrol", "delete", "reservationname=class"])
        for name, text in kept.items():
            (etc / name).write_text(text)


def check(lab: SlurmLab) -> tuple[int, str]:
    command = [lab.cluster.python.parent / "labkit", "site", "check", "--user", "alice"]
    done = lab.cluster.run(command, user="hub")
    return done.returncode, done.stdout + done.stderr


def test_whoever_follows_the_page_has_a_lab_for_those_of_the_group_alone(lab: SlurmLab):
    # Before its line about /etc/shadow is done, the check says what is missing.
    code, said = check(lab)
    assert code == 1 and "✗ hub.authenticator: 'pam'" in said, said
    for line in blocks()[2].splitlines():
        if line.startswith("usermod"):
            lab.cluster.output(shlex.split(line, comments=True))
    code, said = check(lab)
    assert code == 0 and "✓ sign-in of alice: allowed" in said, said

    with lab.running():
        alice = Browser(lab.base)
        assert alice.sign_in("alice", WORDS["carol"]).status == 403
        assert alice.sign_in("alice", WORDS["alice"]).status == 200
        for name in ("carol", "root"):
            assert Browser(lab.base).sign_in(name, WORDS["carol"]).status == 403, name
        alice.ask("/hub/spawn")
        assert alice.ask("/hub/spawn", form={"profile": "notebook"}).status == 200
        wait_for(lambda: alice.session("alice").get("ready"), "the session")
        assert alice.ask("/user/alice/lab").status == 200
        assert lab.queue("UserName") == [["alice"]]
        alice.stop_session("alice")
