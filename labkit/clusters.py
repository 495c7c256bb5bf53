"""From the name of a cluster in the site's settings to its scheduler."""

import os

from labkit.errors import LabkitError, UsageError
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
