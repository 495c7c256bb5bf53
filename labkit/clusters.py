"""From the name of a cluster in the site's settings to its scheduler, and to what fits there."""

import os
from collections.abc import Sequence

from labkit.errors import LabkitError, UsageError
from labkit.parsing import parse
from labkit.paths import private_folder
from labkit.resources import Resources
from labkit.schedulers import SCHEDULERS
from labkit.schedulers.base import Pool, Scheduler
from labkit.settings import Site


def open_cluster(site: Site, name: str | None = None) -> Scheduler:
    """The scheduler of the named cluster of the site, or of its first.

    Raises UsageError naming the key path where the cluster's part of the settings is wrong.
    """
    name, cluster = site.cluster(name)
    try:
        plugin = SCHEDULERS.load(cluster.scheduler)
    except UsageError as error:
        where = f"Wrong in {site.settings}:\n  clusters.{name}.scheduler"
        raise UsageError(f"{where}: {error}") from error
    settings = parse(
        plugin.Settings,
        cluster.model_extra or {},
        source=site.settings,
        shown=lambda key: f"clusters.{name}.{key}",
    )
    folder = private_folder(site.state / name)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise LabkitError(
            f"The folder {folder} is another person's, and so is the site of {site.settings}. "
            "Use a site of your own: set LABKIT_SITE to its labkit.toml."
        )
    return plugin.open(settings, folder)


def pool_for(pools: Sequence[Pool], resources: Resources, cluster: str) -> Pool:
    """The first of them that has as many nodes and GPUs. Raises UsageError naming what there is."""
    asked = resources.gpus_per_node
    # They name no partition.
    reach = [pool for pool in pools if pool.default] or pools
    fitting = [
        pool
        for pool in reach
        if any(n.total.num_gpus >= asked and (not asked or n.total.num_gpus) for n in pool.nodes)
    ]
    if not fitting:
        most = max((n.total.num_gpus for pool in reach for n in pool.nodes), default=0)
        raise UsageError(
            f"{asked} GPUs asked; the cluster {cluster!r} has {most or 'none'}. "
            f"Set gpus_per_node to {most} {'or fewer' if most else '(train on the processor)'}."
        )
    most_nodes = max(len(pool.nodes) for pool in fitting)
    if resources.nodes > most_nodes:
        with_gpus = f" with {asked} GPUs each" if asked else ""
        has = "is one machine" if most_nodes == 1 else f"has {most_nodes} such nodes"
        raise UsageError(
            f"{resources.nodes} nodes{with_gpus} asked; the cluster {cluster!r} {has}. "
            f"{f'Set nodes to {most_nodes} or fewer' if most_nodes > 1 else 'Leave nodes out'}."
        )
    return next(pool for pool in fitting if len(pool.nodes) >= resources.nodes)
