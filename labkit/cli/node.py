"""`labkit node`, what every node of a job runs, and `labkit sweep`, what an Epilog runs: hidden."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from labkit.schedulers.base import STARTS
from labkit.settings import load_site

SWEEP_TIMEOUT_S = 10
"""For what one person has there: who makes it hang keeps neither others nor the Epilog."""


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
    """Remove what killed nodes left in this machine's scratch folder: yours, or as root all."""
    from labkit.raycluster import scratch

    place = load_site().scratch
    for folder in scratch.sweep(place):
        print(f"Removed {folder}: its node is gone.", flush=True)
    if os.getuid() == 0:
        for uid, gid in scratch.owners(place) - {(0, 0)}:
            _sweep_as(uid, gid)


def _sweep_as(uid: int, gid: int) -> None:
    """What is in such a folder is that person's word: root neither reads nor removes it.

    A failure is said, and is not root's: an Epilog that fails would take the node out of service.
    """
    site = {key: os.environ[key] for key in ("LABKIT_SITE",) if key in os.environ}
    try:
        subprocess.run(
            [sys.executable, "-P", "-m", "labkit", "sweep"],
            **{"user": uid, "group": gid, "extra_groups": []},
            env={"HOME": "/", **site},  # no more of root's than that
            cwd="/",
            stdin=subprocess.DEVNULL,
            timeout=SWEEP_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        print(f"What user {uid} has there is left: {error}", file=sys.stderr)
