"""What people may name on a Slurm: partitions, accounts, reservations.

It is for choosing, not for keeping out: Slurm itself decides when a job is submitted.
`AllowGroups`, `AllowAccounts`, …: https://slurm.schedmd.com/slurm.conf.html
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from labkit.schedulers._slurm_nodes import values_of
from labkit.schedulers._slurm_view import parse_time
from labkit.schedulers.base import Access, Rights


@dataclass(frozen=True, kw_only=True)
class Association:
    """A person's right to use an account, in one partition or in all ('')."""

    account: str
    partition: str
    qos: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Permit:
    """Whom a list admits: None for everybody."""

    name: str
    groups: frozenset[str] | None
    accounts: frozenset[str] | None
    qos: frozenset[str] | None
    no_accounts: frozenset[str] = frozenset()
    no_qos: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Reservation:
    name: str
    users: frozenset[str]
    accounts: frozenset[str]
    groups: frozenset[str]
    ends: datetime | None


def parse_associations(text: str) -> dict[str, list[Association]]:
    """Of `sacctmgr --parsable2 show associations format=User,Account,Partition,QOS`, by person."""
    found: dict[str, list[Association]] = {}
    for row in (line.split("|") for line in text.splitlines()):
        if len(row) == 4 and row[0] and row[1]:
            user, account, partition, qos = row
            each = Association(account=account, partition=partition, qos=_names(qos))
            found.setdefault(user, []).append(each)
    return found


def parse_permits(text: str) -> list[Permit]:
    """The open partitions of `scontrol show partition --oneliner`."""
    found = (values_of(line) for line in text.splitlines() if line.startswith("PartitionName="))
    return [
        Permit(
            name=values["PartitionName"],
            groups=_all_or(values.get("AllowGroups", "ALL")),
            accounts=_all_or(values.get("AllowAccounts", "ALL")),
            qos=_all_or(values.get("AllowQos", "ALL")),
            no_accounts=_names(values.get("DenyAccounts", "")),
            no_qos=_names(values.get("DenyQos", "")),
        )
        for values in found
        if values["State"] == "UP" and values.get("RootOnly") != "YES"
    ]


def parse_reservations(text: str) -> list[Reservation]:
    """Of `scontrol show reservation --oneliner`."""
    found = (values_of(line) for line in text.splitlines() if line.startswith("ReservationName="))
    return [
        Reservation(
            name=values["ReservationName"],
            users=_names(values.get("Users", "")),
            accounts=_names(values.get("Accounts", "")),
            groups=_names(values.get("Groups", "")),
            ends=parse_time(values.get("EndTime", "")),
        )
        for values in found
    ]


def _all_or(text: str) -> frozenset[str] | None:
    return None if text == "ALL" else _names(text)


def _names(text: str) -> frozenset[str]:
    return frozenset(name for name in text.split(",") if name not in ("", "(null)"))


def rights(
    associations: Mapping[str, Sequence[Association]],
    permits: Sequence[Permit],
    reservations: Sequence[Reservation],
) -> Rights:
    """All of it at one moment; which reservations are over is seen when somebody asks."""

    def of(user: str, groups: Collection[str]) -> Access:
        own = associations.get(user, ())
        return access(user, groups, own, permits, reservations, datetime.now(UTC))

    return of


def access(
    user: str,
    groups: Collection[str],
    associations: Sequence[Association],
    permits: Sequence[Permit],
    reservations: Sequence[Reservation],
    now: datetime,
) -> Access:
    accounts = list(dict.fromkeys(each.account for each in associations))
    return Access(
        partitions=[p.name for p in permits if _admits(p, set(groups), associations)],
        accounts=accounts,
        reservations=[
            r.name
            for r in reservations
            if _is_for(r, user, set(accounts), set(groups)) and not (r.ends and r.ends <= now)
        ],
    )


def _admits(permit: Permit, groups: set[str], associations: Sequence[Association]) -> bool:
    if permit.groups is not None and not permit.groups & groups:
        return False
    if not associations:  # a cluster that knows no accounts
        return permit.accounts is None and permit.qos is None
    return any(
        each.partition in ("", permit.name)
        and (permit.accounts is None or each.account in permit.accounts)
        and each.account not in permit.no_accounts
        and (permit.qos is None or bool(each.qos & permit.qos))
        and not (each.qos and each.qos <= permit.no_qos)
        for each in associations
    )


def _is_for(reservation: Reservation, user: str, accounts: set[str], groups: set[str]) -> bool:
    """Each of its lists must admit the person; names after a '-' are those who may not."""
    return (
        bool(reservation.users or reservation.accounts or reservation.groups)
        and _lists(reservation.users, {user})
        and _lists(reservation.accounts, accounts)
        and _lists(reservation.groups, groups)
    )


def _lists(names: frozenset[str], mine: set[str]) -> bool:
    if any(name.startswith("-") for name in names):
        return not any(f"-{name}" in names for name in mine)
    return not names or bool(names & mine)
