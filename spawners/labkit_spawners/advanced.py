"""The fields of the page's fold: what may be asked otherwise, with the limits beside each."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labkit.schedulers.base import Access, Pool
from labkit_spawners.offers import Offers, View
from labkit_spawners.permission import within_limits
from labkit_spawners.places import SHARE
from labkit_spawners.words import memory_in_words, time_in_words

_LONGEST = 100


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field; it is a choice where it has any."""

    name: str
    label: str
    hint: str
    value: str
    choices: Mapping[str, str] | None = None
    """The words for each name that may be chosen."""
    least: int = 0
    most: int | None = None
    """Of a number; None for a text."""
    example: str = ""


def fields(offers: Offers, view: View, prefilled: Mapping[str, Any]) -> list[Field]:
    """Those that make sense on these clusters and for this person."""
    if not view.limits.advanced:
        return []
    seen = _seen(offers, view)
    value = {key: _as_text(key, given) for key, given in prefilled.items()}
    return [
        *_devices(view, seen, value),
        *_amounts(view, seen, value),
        *_names(view, seen, value),
    ]


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What this person can reach of the clusters; empty while it is not known."""

    pools: list[Pool]
    names: Mapping[str, list[str]]


def _seen(offers: Offers, view: View) -> _Seen:
    pools: list[Pool] = []
    names: dict[str, dict[str, None]] = {}
    for cluster, there in view.pools.items():
        access = view.access.get(cluster) or Access()
        reach = [p for p in there or () if p.partition in access.partitions or p.default]
        pools += reach
        devices = [p.device_name for p in reach if p.partition in access.partitions and _gpu(p)]
        for key, offered in within_limits(access, devices, view.limits).items():
            names.setdefault(key, {}).update(dict.fromkeys(offered))
    return _Seen(pools=pools, names={key: list(found) for key, found in names.items()})


def _gpu(pool: Pool) -> bool:
    return pool.accelerator != "cpu"


def _as_text(key: str, given: object) -> str:
    if key == "memory" and isinstance(given, int):
        return memory_in_words(given)
    if key == "time" and isinstance(given, int):
        return time_in_words(given)
    return str(given)[:_LONGEST]


def _devices(view: View, seen: _Seen, value: Mapping[str, str]) -> Iterator[Field]:
    gpus = [pool for pool in seen.pools if _gpu(pool) and pool.num_gpus]
    if not gpus:
        return
    if seen.names.get("device"):
        yield Field(
            name="device",
            label="Kind of GPU",
            hint="A share is a part of a GPU.",
            value=value.get("device", ""),
            choices={name: _device_in_words(name, gpus) for name in seen.names["device"]},
        )
    most = max(node.total.num_gpus for pool in gpus for node in pool.nodes)
    limit = _limited(
        f"0 to {most} on each node",
        {"GPUs": view.limits.gpus, "shares": view.limits.shares},
    )
    yield Field(
        name="gpus",
        label="How many",
        hint=limit,
        value=value.get("gpus", ""),
        most=most,
    )


def _device_in_words(name: str, pools: Iterable[Pool]) -> str:
    """'h100: 4 on a node, 5 of 8 free', of the nodes as such, which may be in many partitions."""
    nodes = {node.name: node for pool in pools if pool.device_name == name for node in pool.nodes}
    free = sum(node.free.num_gpus for node in nodes.values())
    total = sum(node.total.num_gpus for node in nodes.values())
    most = max(node.total.num_gpus for node in nodes.values())
    title = "share" if name == SHARE else name
    return f"{title}: up to {most} on a node, {free} of {total} free"


def _amounts(view: View, seen: _Seen, value: Mapping[str, str]) -> Iterator[Field]:
    nodes = {node.name: node.total for pool in seen.pools for node in pool.nodes}
    cores = max((total.num_cpus for total in nodes.values()), default=None)
    memory = max((total.memory_bytes for total in nodes.values()), default=None)
    times = [pool.max_walltime_s for pool in seen.pools]
    longest = max(filter(None, times), default=None) if None not in times else None
    longest = min(filter(None, (longest, view.limits.time)), default=None)
    if len(nodes) > 1:
        yield Field(
            name="nodes",
            label="Nodes",
            hint=_limited(f"1 to {len(nodes)}", {"nodes": view.limits.nodes}),
            value=value.get("nodes", ""),
            least=1,
            most=len(nodes),
        )
    yield Field(
        name="cores",
        label="Cores",
        hint=_limited(
            f"1 to {cores} on each node" if cores else "On each node",
            {"cores": view.limits.cores},
        ),
        value=value.get("cores", ""),
        least=1,
        most=cores or 4096,
    )
    in_all = view.limits.memory and memory_in_words(view.limits.memory)
    yield Field(
        name="memory",
        label="Memory",
        hint=_limited(
            f"Up to {memory_in_words(memory)} on each node" if memory else "On each node",
            {"": in_all},
        ),
        value=value.get("memory", ""),
        example="8 GB",
    )
    yield Field(
        name="time",
        label="Time",
        hint=f"Up to {time_in_words(longest)}" if longest else "As long as the cluster allows",
        value=value.get("time", ""),
        example="2h 30m",
    )


def _limited(words: str, limits: Mapping[str, Any]) -> str:
    """With what the site lets the person have in all."""
    more = [f"{most} {name}".strip() for name, most in limits.items() if most is not None]
    return f"{words}; {', '.join(more)} in all" if more else words


def _names(view: View, seen: _Seen, value: Mapping[str, str]) -> Iterator[Field]:
    labels = {
        "partition": ("Partition", "Part of the cluster, with its own limits."),
        "account": ("Account", "Who pays; yours where it is left."),
        "reservation": ("Reservation", "Nodes kept for a class or a group."),
    }
    for key, (label, hint) in labels.items():
        if offered := seen.names.get(key):
            yield Field(
                name=key,
                label=label,
                hint=hint,
                value=value.get(key, ""),
                choices={name: _name_in_words(key, name, seen.pools) for name in offered},
            )


def _name_in_words(key: str, name: str, pools: Iterable[Pool]) -> str:
    if key != "partition":
        return name
    longest = next((pool.max_walltime_s for pool in pools if pool.partition == name), None)
    return f"{name}: up to {time_in_words(longest)}" if longest else name
