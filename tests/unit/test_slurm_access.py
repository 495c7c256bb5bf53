"""What a person may name on a Slurm, by what its commands print."""

from datetime import UTC, datetime

import pytest

from labkit.schedulers._slurm_access import (
    access,
    parse_associations,
    parse_permits,
    parse_reservations,
)

NOW = datetime.fromtimestamp(1000, UTC)
PARTITION = (
    "PartitionName={name} AllowGroups={groups} AllowAccounts={accounts} AllowQos={qos} "
    "Default=NO RootOnly=NO State={state} Comment=State=UP"
)
RESERVATION = (
    "ReservationName={name} StartTime=0 EndTime={end} Users={users} Groups={groups} "
    "Accounts={accounts} State=ACTIVE"
)


def partition(name: str, **changes: str) -> str:
    values = {"groups": "ALL", "accounts": "ALL", "qos": "ALL", "state": "UP"}
    return PARTITION.format(name=name, **{**values, **changes}) + "\n"


def reservation(name: str, **changes: str) -> str:
    values = {"end": "9999", "users": "(null)", "groups": "(null)", "accounts": "(null)"}
    return RESERVATION.format(name=name, **{**values, **changes}) + "\n"


def of_ana(own: str = "lab||normal\n", partitions: str = "", reservations: str = ""):
    return access(
        "ana",
        {"staff"},
        parse_associations("".join(f"ana|{line}\n" for line in own.splitlines())).get("ana", []),
        parse_permits(partitions),
        parse_reservations(reservations),
        NOW,
    )


@pytest.mark.parametrize(
    ("changes", "admitted"),
    [
        ({}, True),
        ({"groups": "root,staff"}, True),
        ({"groups": "root"}, False),
        ({"accounts": "class,lab"}, True),
        ({"accounts": "class"}, False),
        ({"accounts": "ALL DenyAccounts=lab"}, False),
        ({"qos": "normal"}, True),
        ({"qos": "urgent"}, False),
        ({"qos": "ALL DenyQos=normal"}, False),
        ({"state": "DOWN"}, False),
    ],
)
def test_partitions_that_admit_a_person(changes, admitted):
    assert list(of_ana(partitions=partition("gpu", **changes)).partitions) == ["gpu"] * admitted


def test_a_right_to_one_partition_is_to_no_other():
    both = partition("gpu") + partition("debug")
    found = of_ana("lab|debug|normal\nclass|debug|normal\n", both)
    assert (list(found.partitions), list(found.accounts)) == (["debug"], ["lab", "class"])


def test_a_cluster_without_accounts_has_its_open_partitions():
    both = partition("gpu") + partition("paid", accounts="lab")
    found = of_ana("", both)
    assert (list(found.partitions), list(found.accounts)) == (["gpu"], [])


@pytest.mark.parametrize(
    ("changes", "is_for"),
    [
        ({"users": "ben,ana"}, True),
        ({"users": "ben"}, False),
        ({"users": "-ben"}, True),
        ({"users": "-ana"}, False),
        ({"accounts": "lab"}, True),
        ({"accounts": "class"}, False),
        ({"groups": "staff"}, True),
        ({"users": "ana", "accounts": "class"}, False),
        ({"users": "ana", "end": "999"}, False),
        ({}, False),
    ],
)
def test_reservations_that_are_for_a_person(changes, is_for):
    found = of_ana(reservations=reservation("class", **changes))
    assert list(found.reservations) == ["class"] * is_for


def test_what_is_cut_off_admits_nobody():
    assert parse_associations("ana|lab||nor\nben|la") == parse_associations("ana|lab||nor\n")
    assert parse_reservations("No reservations in the system\n") == []
