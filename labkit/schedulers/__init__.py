"""What starts jobs. A scheduler is one file, named after what it drives."""

from labkit.plugins import Plugins
from labkit.schedulers.base import SchedulerPlugin

SCHEDULERS = Plugins[SchedulerPlugin](
    package="labkit.schedulers", constant="SCHEDULER", kind="scheduler"
)
