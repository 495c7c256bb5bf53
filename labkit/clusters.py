"""From the name of a cluster in the site's settings to its scheduler."""

from labkit.parsing import parse
from labkit.paths import private_folder
from labkit.schedulers import SCHEDULERS
from labkit.schedulers.base import Scheduler
from labkit.settings import Site


def open_cluster(site: Site, name: str | None = None) -> Scheduler:
    """The scheduler of the named cluster of the site, or of its first.

    Raises UsageError naming the key path where the cluster's part of the settings is wrong.
    """
    name, cluster = site.cluster(name)
    plugin = SCHEDULERS.load(cluster.scheduler)
    settings = parse(
        plugin.Settings,
        cluster.model_extra or {},
        source=site.settings,
        shown=lambda key: f"clusters.{name}.{key}",
    )
    return plugin.open(settings, private_folder(site.state / name))
