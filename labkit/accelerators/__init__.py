"""Kinds of device. An accelerator is one file, named after its maker."""

from labkit.accelerators.base import Accelerator
from labkit.plugins import Plugins

ACCELERATORS = Plugins[Accelerator](
    package="labkit.accelerators", constant="ACCELERATOR", kind="accelerator"
)
