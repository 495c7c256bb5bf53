"""What of a site's settings a Slurm would not do, of what Slurm says of itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from labkit.schedulers._slurm_check import check_names, check_profile, check_slurm
from labkit.schedulers._slurm_facts import (
    Facts,
    KnownPartition,
    parse_all_partitions,
    parse_config,
    parse_reservations,
)
from labkit.schedulers._slurm_nodes import Node
from labkit.schedulers.base import Amounts, Finding, JobKind, JobResources, JobSpec

GB = 2**30
CONFIG = """\
Configuration data as of 1795520806
AccountingStorageType   = accounting_storage/slurmdbd
AccountingStoreFlags    = job_comment,job_script
KillWait                = 60 sec
MinJobAge               = 300 sec
SLURM_VERSION           = 22.05.8
SlurmctldHost[0]        = ctl(10.89.0.1)
TaskProlog              = (null)

Slurmctld(primary) at ctl is UP
"""


def node(name: str, partitions: tuple[str, ...] = ("gpu",), **devices: int) -> Node:
    total = Amounts(num_cpus=16, memory_bytes=64 * GB, num_gpus=0)
    nothing = Amounts(num_cpus=0, memory_bytes=0, num_gpus=0)
    return Node(
        name=name,
        usable=False,  # a node that is down now is of the cluster all the same
        partitions=partitions,
        total=total,
        held=nothing,
        devices=devices,
        held_devices={},
    )


FACTS = Facts(
    config=parse_config(CONFIG),
    partitions={
        "gpu": KnownPartition(name="gpu", default=True, open=True, max_walltime_s=86400),
        "shut": KnownPartition(name="shut", default=False, open=False, max_walltime_s=None),
    },
    nodes=[node("n1", h100=4), node("n2", a100=2, shard=16), node("n3", ("shut",))],
    reservations=["class"],
    accounts=["lab"],
    admin_level="Operator",
)


def job(**changes) -> JobSpec:
    amounts = {"num_cpus": 2, "memory_bytes": 4 * GB}
    given = {key: changes.pop(key) for key in ("num_gpus", "device", *amounts) if key in changes}
    return JobSpec(
        name="check",
        kind=JobKind.SESSION,
        argv=["true"],
        folder=Path("/"),
        log=Path("/dev/null"),
        resources=JobResources(**{**amounts, **given}),
        **{"walltime_s": 3600, **changes},
    )


def wrong(findings) -> dict[str, Finding]:
    return {finding.key: finding for finding in findings if finding.fix}


def test_what_slurm_says_of_itself_is_read():
    assert FACTS.config["KillWait"] == "60 sec" and FACTS.config["TaskProlog"] == ""
    assert FACTS.version == (22, 5)
    line = "PartitionName=p1 AllowGroups=ALL Default=NO MaxTime=2-00:00:00 State=DRAIN TRES=cpu=1"
    assert parse_all_partitions(f"{line}\n") == {
        "p1": KnownPartition(name="p1", default=False, open=False, max_walltime_s=172800)
    }
    assert parse_reservations("No reservations in the system\n") == []
    assert parse_reservations("ReservationName=class StartTime=1 Nodes=n1\n") == ["class"]


def test_a_slurm_as_it_should_be():
    assert wrong(check_slurm(FACTS, "hub")) == {}


@pytest.mark.parametrize(
    ("changes", "key", "needed"),
    [
        ({"SLURM_VERSION": "20.11.9"}, "Slurm", False),
        ({"SLURM_VERSION": "26.05.0"}, "Slurm", False),
        ({"KillWait": "5 sec"}, "slurm.conf KillWait", False),
        ({"AccountingStoreFlags": "job_comment,job_env"}, "slurm.conf AccountingStoreFlags", True),
    ],
)
def test_a_slurm_that_is_not(changes, key, needed):
    facts = replace(FACTS, config={**FACTS.config, **changes})
    ((found, finding),) = wrong(check_slurm(facts, "hub")).items()
    assert (found, finding.needed) == (key, needed)


@pytest.mark.parametrize("level", ["None", None])
def test_a_hub_that_is_no_operator(level):
    (finding,) = wrong(check_slurm(replace(FACTS, admin_level=level), "hub")).values()
    assert "sacctmgr modify user hub set adminlevel=operator" in finding.fix


def test_a_slurm_without_accounting_needs_it():
    facts = replace(FACTS, accounts=None, admin_level=None)
    assert list(wrong(check_slurm(facts, "hub"))) == ["Slurm's accounting"]


def test_the_cluster_s_own_names():
    assert wrong(check_names(FACTS, "big", "gpu", "lab")) == {}
    assert list(wrong(check_names(FACTS, "big", "gppu", "labb"))) == [
        "clusters.big.partition",
        "clusters.big.account",
    ]
    none = replace(FACTS, partitions={"shut": FACTS.partitions["shut"]})
    assert "no default" in wrong(check_names(none, "big", "", ""))["clusters.big.partition"].found


@pytest.mark.parametrize(
    "good",
    [
        job(),
        job(num_gpus=4, device="h100"),
        job(num_gpus=4),
        job(num_gpus=16, device="shard"),
        job(walltime_s=86400, account="lab", reservation="class", partition="gpu"),
    ],
)
def test_a_profile_that_fits(good):
    assert wrong(check_profile(FACTS, "p", good)) == {}


@pytest.mark.parametrize(
    ("bad", "key"),
    [
        (job(partition="gpuu"), "partition"),
        (job(partition="shut"), "partition"),
        (job(account="labb"), "account"),
        (job(reservation="autumn"), "reservation"),
        (job(walltime_s=86401), "time"),
        (job(num_gpus=1, device="h200"), "device"),
        (job(num_gpus=5, device="h100"), "gpus"),
        (job(num_gpus=5), "gpus"),
        (job(num_cpus=17), "cores"),
        (job(memory_bytes=65 * GB), "memory"),
        (job(num_gpus=2, device="a100", memory_bytes=65 * GB), "memory"),
    ],
)
def test_a_profile_that_does_not(bad, key):
    ((found, finding),) = wrong(check_profile(FACTS, "p", bad)).items()
    assert found == f"profiles.p.{key}" and finding.needed


def test_without_a_default_partition_a_profile_must_name_one():
    none = replace(FACTS, partitions={"shut": FACTS.partitions["shut"]})
    finding = wrong(check_profile(none, "p", job()))["profiles.p.partition"]
    assert "Allowed: 'shut'" in finding.fix
