"""What a run asks for, in the words of its spec, and what of it becomes a job."""

from typing import Annotated, TypedDict

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from labkit.parsing import MemoryBytes, Seconds, Written

ClusterName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"),
    Written("a name that the cluster knows, of letters, digits, '_', '.' and '-'"),
]
"""Of something of the cluster's; whether it knows it is asked before the run is submitted."""


class Placed(TypedDict):
    """The keys of `JobSpec` that say where a job runs and who pays; '' where nothing is said."""

    partition: str
    account: str
    reservation: str


class Resources(BaseModel):
    """Left out, cores and memory come from the recipe's estimate."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    cluster: str | None = None
    """The cluster of the site to run on; the site's first where none is named."""
    partition: ClusterName | None = None
    """The cluster's partition; its own choice where it is left out."""
    account: ClusterName | None = None
    """The account that pays, of those that are yours; your usual one where it is left out."""
    reservation: ClusterName | None = None
    """The cluster's reservation to run in, as for a class."""
    nodes: int = Field(default=1, ge=1, le=10_000)
    """How many nodes."""
    gpus_per_node: int = Field(default=0, ge=0, le=64)
    """GPUs on each node; 0 trains on the processor."""
    cpus_per_node: int | None = Field(default=None, ge=1, le=4096)
    """Cores on each node; all of the node where it is left out."""
    memory: MemoryBytes | None = Field(default=None, ge=2**28)
    """Memory on each node, as in '8 GB'; from the estimate where it is left out."""
    time: Seconds = Field(default=8 * 3600, ge=60, le=30 * 86400)
    """The longest that the run may take, as in '45m' or '8h'."""

    @property
    def placed(self) -> Placed:
        return Placed(
            partition=self.partition or "",
            account=self.account or "",
            reservation=self.reservation or "",
        )
