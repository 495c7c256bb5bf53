"""Where a run will run: what its spec names, against what the person may use and there is.

Asked before the run is submitted, so that what cannot be is said in words. The scheduler has
the last word when the job is submitted.
"""

import getpass
import grp
import os
from collections.abc import Sequence

from labkit.data.findings import count
from labkit.errors import LabkitError, UsageError, did_you_mean, known_names
from labkit.resources import Resources
from labkit.schedulers.base import SHARE, Access, Pool, Scheduler

NAMES = {
    "partition": "partitions",
    "account": "accounts",
    "reservation": "reservations",
}
"""The keys that name something of the cluster's, with what `Access` calls all of them."""


async def find_pool(scheduler: Scheduler, asked: Resources, cluster: str) -> Pool:
    """The nodes that the run may be placed on. Raises UsageError where it never can be."""
    if any(getattr(asked, key) for key in NAMES):
        require_access(await own_access(scheduler), asked, cluster)
    return fitting_pool(await scheduler.capacity(), asked, cluster)


async def own_access(scheduler: Scheduler) -> Access:
    """What the person of this process may name."""
    user = getpass.getuser()
    return (await scheduler.rights(user))(user, own_groups())


def own_groups() -> frozenset[str]:
    """The names of the Unix groups of this process."""
    names = []
    for gid in {os.getgid(), *os.getgroups()}:
        try:
            names.append(grp.getgrgid(gid).gr_name)
        except KeyError:  # a number without a name admits to nothing
            continue
    return frozenset(names)


def require_access(access: Access, asked: Resources, cluster: str) -> None:
    """Raises UsageError for what this person may not name there, with what they may."""
    for key, all_of_them in NAMES.items():
        name, mine = getattr(asked, key), getattr(access, all_of_them)
        if not name or name in mine:
            continue
        if not mine:
            raise UsageError(
                f"{key} {name!r} asked; the cluster {cluster!r} has no {all_of_them} for you to "
                f"choose from. Leave {key} out."
            )
        raise UsageError(
            f"{key} {name!r} asked; on the cluster {cluster!r} you may use "
            f"{known_names(mine)}.{did_you_mean(name, mine)} Set {key} to one of them, or leave "
            "it out."
        )


def fitting_pool(pools: Sequence[Pool], asked: Resources, cluster: str) -> Pool:
    """Of the nodes of its partition, the first kind of which there are enough.

    Raises UsageError with how many there are.
    """
    reach, gpus = pools_for(pools, asked.partition), asked.gpus_per_node
    there = f"the cluster {cluster!r}"
    if asked.partition:
        there = f"the partition {asked.partition!r} of {there}"
    if not reach:
        raise LabkitError(f"No node of {there} is open now. Choose another, or ask your operator.")
    most_gpus = max((node.total.num_gpus for pool in reach for node in pool.nodes), default=0)
    if gpus > most_gpus:
        raise UsageError(
            f"{count(gpus, 'GPU')} asked{' on each node' if most_gpus else ''}; {there} has "
            f"{most_gpus or 'none'}. Set gpus_per_node to {most_gpus} "
            f"{'or fewer' if most_gpus else '(train on the processor)'}."
        )
    most_nodes = max((num_fitting(pool, gpus) for pool in reach), default=0)
    if asked.nodes > most_nodes:
        with_gpus = f" with {count(gpus, 'GPU')} each" if gpus else ""
        has = "is one machine" if most_nodes == 1 else f"has {most_nodes} such nodes"
        if gpus and most_nodes == 1:
            has = "has one such node"
        raise UsageError(
            f"{count(asked.nodes, 'node')}{with_gpus} asked; {there} {has}. "
            f"{f'Set nodes to {most_nodes} or fewer' if most_nodes > 1 else 'Leave nodes out'}."
        )
    return next(pool for pool in reach if num_fitting(pool, gpus) >= asked.nodes)


def pools_for(pools: Sequence[Pool], partition: str | None) -> list[Pool]:
    """Those that a run may be placed on, '' or None being the partition of those that name none.

    Shares of a GPU are for sessions alone.
    """
    whole = [pool for pool in pools if pool.device_name != SHARE]
    if partition:
        return [pool for pool in whole if pool.partition == partition]
    return [pool for pool in whole if pool.default] or whole


def num_fitting(pool: Pool, gpus_per_node: int) -> int:
    """How many of its nodes have as many GPUs."""
    return sum(node.total.num_gpus >= gpus_per_node for node in pool.nodes)


def cores_of(pool: Pool, asked: Resources) -> int:
    """The most cores that as many of its nodes as are asked for have, each."""
    fitting = [node for node in pool.nodes if node.total.num_gpus >= asked.gpus_per_node]
    return sorted((node.total.num_cpus for node in fitting), reverse=True)[asked.nodes - 1]
