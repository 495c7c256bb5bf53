"""What Slurm's nodes have and what of it is free, from `scontrol show node`. Pure.

A share of a GPU is Slurm's 'shard'. 22.05 counts shards wrongly in `sinfo`'s GresUsed, so
what is held is read from AllocTRES.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from labkit.schedulers.base import Amounts, Pool, PoolNode

SHARD = "shard"
_USABLE = {"IDLE", "MIXED", "ALLOCATED", "COMPLETING"}
_CLOSED = {"DRAIN", "DOWN", "FAIL", "MAINT", "RESERVED", "NOT_RESPONDING", "POWERED_DOWN"}


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node as Slurm has it."""

    name: str
    usable: bool
    partitions: tuple[str, ...]
    total: Amounts
    """Its cores and memory; devices are counted by type."""
    held: Amounts
    devices: Mapping[str, int]
    """How many there are, by type: 'h100', 'shard'; '' where the type has no name."""
    held_devices: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One partition as Slurm has it."""

    name: str
    default: bool
    max_walltime_s: int | None


def parse_partitions(text: str) -> dict[str, Partition]:
    """The open partitions of `scontrol show partition --oneliner`, by name."""
    found = (values_of(line) for line in text.splitlines() if line.startswith("PartitionName="))
    return {
        values["PartitionName"]: Partition(
            name=values["PartitionName"],
            default=values["Default"] == "YES",
            max_walltime_s=seconds_of(values["MaxTime"]),
        )
        for values in found
        if values["State"] == "UP"
    }


def seconds_of(text: str) -> int | None:
    """Of '30', '30:00', '12:00:00' and '1-12:00:00' (man sbatch, --time)."""
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdecimal() for part in parts):
        return None  # UNLIMITED
    hours, minutes, seconds = ([0, 0, 0] + [int(part) for part in parts])[-3:]
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds


def values_of(line: str) -> dict[str, str]:
    """Of an '--oneliner', each key's first value: what comes after may be free text."""
    values: dict[str, str] = {}
    for key, value in re.findall(r"(?:^| )([A-Za-z/]+)=(\S*)", line):
        values.setdefault(key, value)
    return values


def parse_nodes(text: str) -> list[Node]:
    """The nodes of `scontrol show node --oneliner`."""
    return [_node(line) for line in text.splitlines() if line.startswith("NodeName=")]


def _node(line: str) -> Node:
    values = values_of(line)
    states = set(re.split(r"[+*~#!%$@^-]", values["State"]))
    usable = bool(states & _USABLE) and not states & _CLOSED and "*" not in values["State"]
    devices = _gres(values.get("Gres", ""))
    return Node(
        name=values["NodeName"],
        usable=usable,
        partitions=tuple(filter(None, values.get("Partitions", "").split(","))),
        total=_amounts(values["CPUTot"], values["RealMemory"]),
        held=_amounts(values["CPUAlloc"], values["AllocMem"]),
        devices=devices,
        held_devices=_held(values.get("AllocTRES", ""), devices),
    )


def _amounts(cpus: str, megabytes: str) -> Amounts:
    return Amounts(num_cpus=int(cpus), memory_bytes=int(megabytes) * 2**20, num_gpus=0)


def _gres(text: str) -> dict[str, int]:
    """Of 'gpu:a100:2(S:0),shard:16(S:0)'."""
    found: dict[str, int] = defaultdict(int)
    for name, kind, count in re.findall(r"(gpu|shard)(?::([^:,(]+(?=:)))?:(\d+)", text):
        found[SHARD if name == SHARD else kind] += int(count)
    return dict(found)


def _held(tres: str, devices: Mapping[str, int]) -> dict[str, int]:
    """Of 'cpu=2,mem=4G,gres/gpu=1,gres/gpu:a100=1,gres/shard=2'."""
    amounts = {name: count for name, count in re.findall(r"([^,=]+(?::[^,=]+)?)=([^,]+)", tres)}
    gpus = [kind for kind in devices if kind != SHARD]
    held = {kind: int(amounts.get(f"gres/gpu:{kind}", 0)) for kind in gpus}
    if len(gpus) == 1:  # sites may count the GPUs of all types together
        held[gpus[0]] = int(amounts.get("gres/gpu", 0))
    shards = int(amounts.get("gres/shard", 0))
    if SHARD in devices:
        per_gpu = max(1, devices[SHARD] // max(1, sum(devices[kind] for kind in gpus)))
        whole = sum(held.values())
        # A GPU of which a share is held is not to be had whole, nor the other way round.
        for kind in gpus:
            held[kind] = min(devices[kind], held[kind] + -(-shards // per_gpu))
        held[SHARD] = min(devices[SHARD], shards + whole * per_gpu)
    return held


def pools(
    nodes: Iterable[Node],
    partitions: Mapping[str, Partition],
    accelerators: Mapping[str, str],
    default: str = "",
) -> list[Pool]:
    """By partition and type of device; each partition also without any device.

    `default` is the partition of the site's jobs that name none; '' leaves that to Slurm.

    `accelerators` has the kind of accelerator of those types that are not NVIDIA's.
    """
    found: dict[tuple[str, str], list[PoolNode]] = defaultdict(list)
    for node in nodes:
        for partition in partitions.keys() & set(node.partitions):
            for kind, pool_node in _by_device(node):
                found[partition, kind].append(pool_node)
    return [
        Pool(
            partition=partition,
            accelerator=accelerators.get(kind, "nvidia") if kind else "cpu",
            device_name=kind,
            nodes=members,
            default=partition == default if default else partitions[partition].default,
            max_walltime_s=partitions[partition].max_walltime_s,
        )
        for (partition, kind), members in found.items()
    ]


def _by_device(node: Node) -> Iterator[tuple[str, PoolNode]]:
    nothing = Amounts(num_cpus=0, memory_bytes=0, num_gpus=0)
    free = node.total.less(node.held) if node.usable else nothing
    yield "", PoolNode(name=node.name, total=node.total, free=free)
    for kind, count in node.devices.items():
        left = max(0, count - node.held_devices.get(kind, 0)) if node.usable else 0
        yield (
            kind or "gpu",
            PoolNode(
                name=node.name,
                total=replace(node.total, num_gpus=count),
                free=replace(free, num_gpus=left),
            ),
        )
