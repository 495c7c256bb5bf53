"""`labkit node`, what every node of a job runs, and `labkit sweep`, what an Epilog runs: hidden."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from labkit.schedulers.base import STARTS
from labkit.settings import load_site


def node(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    rendezvous: Path,
    num_cpus: int,
    num_gpus: int,
    memory_bytes: int,
    scratch: Path,
    num_nodes: int = 1,
    network: str = "",
    tls: bool = True,
    grace_s: int = 60,
    dashboard: bool = False,
    workdir: Path | None = None,
) -> int:
    """Run the command on the private Ray cluster of this job; without one, join that cluster."""
    from labkit.raycluster.node import NodeSpec, join_head, run_head

    # The nodes of one start of the job meet, and none that was cut off from an earlier.
    again = os.environ.get(STARTS, "0")
    spec = NodeSpec(
        rendezvous=rendezvous
        if again == "0"
        else rendezvous.with_name(f"{rendezvous.name}-{again}"),
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        memory_bytes=memory_bytes,
        num_nodes=num_nodes,
        scratch=scratch,
        network=network,
        tls=tls,
        grace_s=grace_s,
        dashboard=dashboard,
        workdir=workdir,
        command=command,
    )
    return run_head(spec) if command else join_head(spec)


def sweep() -> None:
    """Remove what nodes of yours that were killed left in this machine's scratch folder."""
    from labkit.raycluster import scratch

    for folder in scratch.sweep(load_site().scratch):
        print(f"Removed {folder}: its node is gone.")
