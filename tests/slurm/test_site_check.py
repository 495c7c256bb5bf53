"""`labkit site check` tries a site against a live Slurm, and names what is wrong with it."""

import json
from typing import Any

import pytest

from tests.slurm.cluster import SlurmCluster
from tests.slurm.slurm_lab import SlurmLab, write_as_root


@pytest.fixture
def lab(cluster: SlurmCluster) -> SlurmLab:
    """Its settings and its line of sudoers; no hub runs."""
    return SlurmLab(cluster)


def check(lab: SlurmLab, *flags: str, user: str | None = "hub") -> tuple[int, dict[str, Any]]:
    """The exit code, and what is wrong by key."""
    command = [lab.cluster.python.parent / "labkit", "site", "check", "--json", *flags]
    done = lab.cluster.run(command, user=user)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    findings = json.loads(done.stdout)["findings"]
    return done.returncode, {each["key"]: each for each in findings if each["fix"]}


@pytest.mark.parametrize("user", ["hub", None])
def test_a_site_that_is_right(lab: SlurmLab, user):
    """As the hub, and as root, who tries it by way of the hub."""
    code, wrong = check(lab, "--user", "alice", "--user", "bob", user=user)
    assert (code, list(wrong)) == (0, ["slurm.conf KillWait"]), wrong


WRONG = """
[profiles.lost]
title = "A partition that is not there"
partition = "gpuu"

[profiles.odd]
title = "A device that is not there"
gpus = 1
device = "h200"

[profiles.many]
title = "More devices than a node has"
gpus = 5
device = "h100"

[profiles.long]
title = "Longer than its partition allows"
partition = "debug"
time = "8h"

[profiles.big]
title = "More than a node has"
cores = 17
memory = "900 GB"

[profiles.payer]
title = "Whom nobody pays"
account = "labb"

[profiles.class]
title = "A class that is over"
reservation = "autumn"

[profiles.elsewhere]
title = "On a cluster that is not there"
cluster = "slrum"

[limits.students]
groups = ["labkit-user"]
partitions = ["debug", "gppu"]
devices = ["h10"]
accounts = ["labb"]
"""


def test_every_wrong_key_is_named_with_what_is_allowed(cluster: SlurmCluster):
    code, wrong = check(SlurmLab(cluster, WRONG), "--user", "alice")
    assert code == 1
    said = {key: (each["found"], each["fix"]) for key, each in wrong.items()}
    for key, words in {
        "profiles.lost.partition": "Did you mean 'gpu'? Allowed: 'gpu', 'debug'.",
        "profiles.odd.device": "Allowed: '1g.10gb', 'a100', 'h100', 'shard'.",
        "profiles.many.gpus": "A node in the partition 'gpu' has 4 at most.",
        "profiles.long.time": "The partition 'debug' allows 30 min 00 s at most.",
        "profiles.big.cores": "has 16 at most.",
        "profiles.big.memory": "has 62.5 GB at most.",
        "profiles.payer.account": "Did you mean 'lab'?",
        "profiles.class.reservation": "Allowed: none.",
        "profiles.elsewhere.cluster": "Allowed: 'slurm'.",
        "limits.students.groups": "no such Unix group on this machine. Did you mean",
        "limits.students.partitions": "Did you mean 'gpu'? Allowed: 'debug', 'gpu'.",
        "limits.students.devices": "Did you mean 'h100'?",
        "limits.students.accounts": "Did you mean 'lab'?",
        # The same by Slurm's own word, as the person.
        "profiles.long": "The partition does not allow so much time.",
        "profiles.payer": "That account is not known",
    }.items():
        assert words in said[key][1], (key, said.get(key))
    assert "profiles.notebook" not in wrong and "profiles.share" not in wrong


def test_a_line_of_sudoers_that_is_missing(lab: SlurmLab):
    (lab.cluster.folder / "etc" / "sudoers.d" / "labkit").unlink()
    code, wrong = check(lab, "--user", "alice")
    assert code == 1
    assert wrong["profiles.notebook"]["found"] == "alice could not start it"
    assert "sudo: " in wrong["profiles.notebook"]["fix"]


def test_settings_that_others_can_change(lab: SlurmLab):
    lab.settings.chmod(0o666)
    code, wrong = check(lab, "--user", "alice")
    assert code == 1
    for key in ("settings of labkit-submit", "profiles.notebook"):
        assert "can be changed by others than root" in wrong[key]["fix"]


def test_a_hub_that_is_no_operator(lab: SlurmLab):
    def set_level(level: str) -> None:
        lab.cluster.output(
            ["sacctmgr", "-i", "modify", "user", "hub", "set", f"adminlevel={level}"]
        )

    set_level("None")
    try:
        code, wrong = check(lab)
    finally:
        set_level("Operator")
    assert code == 1
    assert "Allowed: Operator" in wrong["Slurm's role of hub"]["fix"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("localhost", "loopback"),
        ("192.0.2.1", "not this machine's"),
        ("nowhere.invalid", "has no address"),
    ],
)
def test_an_address_that_no_node_reaches(lab: SlurmLab, address, words):
    text = lab.settings.read_text().replace(lab.cluster.hub_address, address)
    write_as_root(lab.settings, text, 0o644)
    code, wrong = check(lab)
    assert code == 1 and words in wrong["hub.internal_address"]["fix"]


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ('conf = "/nowhere/slurm.conf"', "clusters.slurm.conf"),
        ('commands = "/nowhere"', "clusters.slurm.commands"),
        ('partition = "gppu"', "clusters.slurm.partition"),
        ('account = "nobody"', "clusters.slurm.account"),
        ("partitoin = 3", "clusters.slurm"),
    ],
)
def test_a_cluster_that_is_wrong(cluster: SlurmCluster, setting, key):
    code, wrong = check(SlurmLab(cluster, cluster_settings=setting))
    assert code == 1
    assert key in wrong and wrong[key]["fix"]


def test_somebody_who_is_not_there(lab: SlurmLab):
    command = [lab.cluster.python.parent / "labkit", "site", "check", "--user", "mallory"]
    done = lab.cluster.run(command, user="hub")
    assert done.returncode == 2
    assert "has no user 'mallory'" in done.stderr


def test_software_is_looked_at_as_the_person(cluster: SlurmCluster):
    secret = cluster.folder / "etc" / "labkit-secret.sif"
    write_as_root(secret, "", 0o600)
    lab = SlurmLab(
        cluster,
        f"""
[profiles.right]
title = "All is there"
software.python = "{cluster.python}"
software.modules = ["cuda/12.4"]

[profiles.lost]
title = "A module that is not there"
software.modules = ["cuda/12.4", "lost"]
software.python = "/opt/nowhere/python"

[profiles.closed]
title = "An image for root alone"
software.image = "{secret}"
software.apptainer = "/bin/true"
""",
        cluster_settings="prologue = ['module() { [ $2 != lost ]; }']",
    )
    code, wrong = check(lab, "--user", "alice")
    assert code == 1
    assert {key for key in wrong if key.startswith("profiles.")} == {
        "profiles.lost", "profiles.closed"
    }  # fmt: skip
    lost, closed = wrong["profiles.lost"]["fix"], wrong["profiles.closed"]["fix"]
    assert "profiles.lost.software.modules: found 'lost'" in lost
    assert "profiles.lost.software.python: found '/opt/nowhere/python'" in lost
    assert f"profiles.closed.software.image: found '{secret}'" in closed and "read" in closed
