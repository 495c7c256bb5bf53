"""What starts jobs. A scheduler is one file, named after what it drives."""

from labkit.parsing import parse
from labkit.paths import private_folder
from labkit.plugins import Plugins
from labkit.schedulers.base import Scheduler, SchedulerPlugin
from labkit.settings import Site

SCHEDULERS = Plugins[SchedulerPlugin](
    package="labkit.schedulers", constant="SCHEDULER", kind="scheduler"
)


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
