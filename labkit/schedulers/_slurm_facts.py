"""What a Slurm says of itself, as far as `labkit site check` looks at it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labkit.schedulers._slurm_commands import Slurm, SlurmError
from labkit.schedulers._slurm_nodes import Node, parse_nodes, seconds_of, values_of

COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sacctmgr")


@dataclass(frozen=True, kw_only=True)
class KnownPartition:
    """One partition, open or closed."""

    name: str
    default: bool
    open: bool
    max_walltime_s: int | None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One Slurm at one moment. What could not be asked is None."""

    config: Mapping[str, str]
    partitions: Mapping[str, KnownPartition]
    nodes: Sequence[Node]
    reservations: Sequence[str]
    accounts: Sequence[str] | None
    """None where there is no accounting."""
    admin_level: str | None
    """What the hub's user is to Slurm: 'None', 'Operator', 'Administrator'; None as accounts."""

    @property
    def version(self) -> tuple[int, int]:
        """As in (22, 5) of '22.05.8'; (0, 0) where it says none."""
        found = re.match(r"(\d+)\.(\d+)", self.config.get("SLURM_VERSION", ""))
        return (int(found[1]), int(found[2])) if found else (0, 0)


async def ask_facts(slurm: Slurm, hub_user: str) -> Facts:
    """Ask for all of it. Raises SlurmError where the controller does not answer."""
    show = ("scontrol", "--oneliner", "show")
    config = parse_config(await slurm.run("scontrol", "show", "config"))
    accounted = config.get("AccountingStorageType", "").endswith("slurmdbd")
    return Facts(
        config=config,
        partitions=parse_all_partitions(await slurm.run(*show, "partition")),
        nodes=parse_nodes(await slurm.run(*show, "node")),
        reservations=parse_reservations(await slurm.run(*show, "reservation")),
        accounts=await _lines(slurm, "account", "format=Account") if accounted else None,
        admin_level=await _admin_level(slurm, hub_user) if accounted else None,
    )


async def _lines(slurm: Slurm, *what: str) -> list[str] | None:
    """None where the database does not answer: that is said elsewhere."""
    try:
        text = await slurm.run("sacctmgr", "--noheader", "--parsable2", "show", *what)
    except SlurmError:
        return None
    return sorted(set(filter(None, text.splitlines())))


async def _admin_level(slurm: Slurm, user: str) -> str | None:
    found = await _lines(slurm, "user", f"name={user}", "format=AdminLevel")
    return None if found is None else next(iter(found), "None")


def parse_config(text: str) -> dict[str, str]:
    """Of `scontrol show config`: 'KillWait                = 30 sec'."""
    found = re.findall(r"^(\w+) *= (.*?) *$", text, re.MULTILINE)
    return {key: "" if value == "(null)" else value for key, value in found}


def parse_all_partitions(text: str) -> dict[str, KnownPartition]:
    """Of `scontrol --oneliner show partition`."""
    lines = [values_of(line) for line in text.splitlines() if line.startswith("PartitionName=")]
    return {
        values["PartitionName"]: KnownPartition(
            name=values["PartitionName"],
            default=values["Default"] == "YES",
            open=values["State"] == "UP",
            max_walltime_s=seconds_of(values["MaxTime"]),
        )
        for values in lines
    }


def parse_reservations(text: str) -> list[str]:
    """Of `scontrol --oneliner show reservation`, which says it in words where there is none."""
    return re.findall(r"^ReservationName=(\S+)", text, re.MULTILINE)
