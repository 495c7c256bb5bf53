"""`labkit node`: hidden; what every node of a job runs. See `labkit.raycluster.node`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def node(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    rendezvous: Path,
    num_cpus: int,
    num_gpus: int,
    memory_bytes: int,
    scratch: Path,
) -> int:
    """Run the command on the private Ray cluster of this job."""
    from labkit.raycluster.node import NodeSpec, run_node

    return run_node(
        NodeSpec(
            rendezvous=rendezvous,
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            memory_bytes=memory_bytes,
            scratch=scratch,
            command=command,
        )
    )
