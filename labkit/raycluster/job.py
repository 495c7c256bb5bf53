"""How a job brings up its private Ray cluster: what each of its nodes runs."""

import sys
from pathlib import Path

from labkit.schedulers.base import JobResources
from labkit.settings import Site

RAY_MEMORY_BYTES = 2**30
"""Ray's processes of one node, its object store and the driver: 0.5 GB measured, doubled."""


def node_command(
    site: Site, resources: JobResources, rendezvous: Path, *, grace_s: int
) -> list[str]:
    """`labkit node` with all but the head's command; by itself it joins the head."""
    return [
        # -P: a file of the person's that is called ray.py is not Ray.
        *(sys.executable, "-P", "-m", "labkit", "node"),
        f"--num-cpus={resources.num_cpus}",
        f"--num-gpus={resources.num_gpus}",
        f"--memory-bytes={resources.memory_bytes}",
        f"--num-nodes={resources.num_nodes}",
        f"--rendezvous={rendezvous}",
        f"--scratch={site.scratch}",
        f"--grace-s={grace_s}",
        *([f"--network={site.network}"] if site.network else []),
        *([] if site.ray_tls else ["--no-tls"]),
    ]
