"""What a table was measured on: device, versions, date, and how busy it was."""

import os
import sys
from datetime import UTC, datetime
from importlib.metadata import version

from labkit.accelerators import ACCELERATORS

PACKAGES = (
    "labkit",
    "torch",
    "transformers",
    "accelerate",
    "ray",
    "scikit-learn",
    "jupyterhub",
    "jupyterlab",
)


def describe(threads: int) -> str:
    """One paragraph for the head of all tables."""
    device = ACCELERATORS.load("cpu").devices()[0].name
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    python = sys.version.split()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {device}, torch with {threads} of "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before; "
        f"Python {python}, {versions}"
    )
