"""The one protocol for everything that starts jobs: a laptop, a server, a supercomputer.

Sessions, runs and Ray workers are all jobs. Callers never learn which scheduler they speak
to. A scheduler that does not answer has ended nothing: that is the state UNKNOWN.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pydantic import BaseModel  # not beside every job: it is slow to import

    from labkit.settings import Software

SHARE = "shard"
"""The type of device that is a part of a GPU: nobody gets one who did not ask for it."""


STARTS = "LABKIT_JOB_STARTS"
"""In the environment of a job that may be started again: how often it was started before."""
AGAIN = 75
"""The exit code of a job that wants to be started again, in its turn (EX_TEMPFAIL of sysexits)."""


class JobState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    ENDING = "ending"
    """Asked to end, and still saving its work."""
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out-of-memory"
    LOST = "lost"
    """Its processes are gone and nobody saw them end: killed, or the machine restarted."""


class JobKind(StrEnum):
    RUN = "run"
    SESSION = "session"
    RAY = "ray"
    """Somebody's own command, on a private Ray cluster."""


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What is asked of one node, held on it or free."""

    num_cpus: int
    memory_bytes: int
    num_gpus: int

    def within(self, limit: "Amounts") -> bool:
        return (
            self.num_cpus <= limit.num_cpus
            and self.memory_bytes <= limit.memory_bytes
            and self.num_gpus <= limit.num_gpus
        )

    def less(self, taken: "Amounts") -> "Amounts":
        """What is left, never below nothing."""
        return Amounts(
            num_cpus=max(0, self.num_cpus - taken.num_cpus),
            memory_bytes=max(0, self.memory_bytes - taken.memory_bytes),
            num_gpus=max(0, self.num_gpus - taken.num_gpus),
        )

    def times(self, asked: "Amounts") -> int:
        """How often `asked` goes into it; what is not asked does not count."""
        shares = (
            (self.num_cpus, asked.num_cpus),
            (self.memory_bytes, asked.memory_bytes),
            (self.num_gpus, asked.num_gpus),
        )
        return min((have // want for have, want in shares if want), default=0)


@dataclass(frozen=True, kw_only=True)
class JobResources:
    """What one job holds, on each of its nodes."""

    num_cpus: int
    memory_bytes: int
    num_gpus: int = 0
    accelerator: str = "cpu"
    """The kind of device: 'cpu', 'nvidia', …"""
    device: str = ""
    """The type of device, as the cluster names it: 'h100', 'shard'; '' for any."""
    num_nodes: int = 1


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One job to start: an argument list, never a shell's string."""

    name: str
    kind: JobKind
    argv: Sequence[str]
    others: Sequence[str] = ()
    """What each node but the first runs beside `argv`, and ends with it; empty for nothing."""
    folder: Path
    """The working directory."""
    log: Path
    """Where standard output and error of the job go, mode 0600."""
    resources: JobResources
    walltime_s: int
    environment: Mapping[str, str] = field(default_factory=dict)
    """The job's whole environment but for what the scheduler itself adds."""
    grace_s: int = 30
    """How long the job may save its work between being asked to end and being ended."""
    restart_until: Path | None = None
    """Unless this file is there, the job is started again, as the same job, where its first node
    is lost, where a job of higher priority takes its place, and where its exit code is AGAIN.

    A scheduler that cannot do so leaves it alone, and STARTS out of the job's environment.
    """
    tag: str = ""
    """By what its submitter knows it again: letters and digits, which others may read."""
    partition: str = ""
    account: str = ""
    reservation: str = ""
    """Where it runs and who pays; '' for what the cluster does without it being said."""
    software: "Software | None" = None
    """In what it runs; None for what the cluster's settings say."""


@dataclass(frozen=True, kw_only=True)
class JobInfo:
    """A job that waits or runs."""

    job_id: str
    name: str
    kind: JobKind
    user: str = ""
    """Its owner on that cluster; '' where all jobs have one owner."""
    tag: str = ""
    state: JobState
    reason: str = ""
    """Why it waits, in plain words."""
    waits_for: str = ""
    """What it waits for in its turn, as in 'a free h100'; '' where the reason says it all."""
    stuck: bool = False
    """It will not start unless somebody changes something; the reason says what."""
    place: int | None = None
    """Its place among those who wait for the same, 1 first; None once it runs."""
    people_before: int | None = None
    """How many others have jobs before it; None where that is not known."""
    expected_start: datetime | None = None
    submitted: datetime
    started: datetime | None = None
    deadline: datetime | None = None
    """When its walltime is over."""
    nodes: Sequence[str] = ()
    resources: JobResources


@dataclass(frozen=True, kw_only=True)
class JobEnd:
    """How a job ended: positive evidence, never the lack of an answer."""

    job_id: str
    outcome: Outcome
    exit_code: int | None
    """128 and the number of the signal where one ended it; None where nobody saw it."""
    ended: datetime
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PoolNode:
    """What one node has, and what of it a job could have now."""

    name: str
    total: Amounts
    free: Amounts


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The nodes of one partition with like devices."""

    partition: str
    accelerator: str
    device_name: str
    nodes: Sequence[PoolNode]
    default: bool = True
    """Whether its partition is that of jobs that name none."""
    max_walltime_s: int | None = None
    """The longest that a job may run there; None where there is no limit."""
    shares_cores: bool = False
    """Whether sessions share its cores, so that a session asks for none."""

    @property
    def num_gpus(self) -> int:
        return sum(node.total.num_gpus for node in self.nodes)

    @property
    def free_gpus(self) -> int:
        return sum(node.free.num_gpus for node in self.nodes)

    def holds(self, asked: Amounts) -> bool:
        """Whether one of its nodes, were it free, had as much."""
        return any(asked.within(node.total) for node in self.nodes)

    def room_for(self, asked: Amounts) -> int:
        """How many jobs of one node that ask so much would start now."""
        return sum(node.free.times(asked) for node in self.nodes)


@dataclass(frozen=True, kw_only=True)
class Access:
    """What one person may name when they submit a job; empty where there is nothing to name."""

    partitions: Sequence[str] = ()
    accounts: Sequence[str] = ()
    reservations: Sequence[str] = ()


Rights = Callable[[str, Collection[str]], Access]
"""What a person in those Unix groups may name, by what a scheduler said at one moment."""


@dataclass(frozen=True, kw_only=True)
class JobUse:
    """What a job asked for, held and used so far, on all of its nodes and in all of its starts."""

    job_id: str
    gpu_s_asked: float
    """GPUs by seconds of the walltime."""
    gpu_s_held: float
    core_s_asked: float
    core_s_held: float
    core_s_busy: float | None
    """Processor time of all its processes; None where the scheduler does not count it."""
    energy_j: float | None
    """Of its nodes, as the scheduler's own meters have it; None where it has none."""


class Scheduler(Protocol):
    look_every_s: float
    """How often its answers are worth asking for: less often where many share it."""
    queries_a_minute: int
    """How many questions the hub may ask of it in a minute, whatever happens; at least 6."""

    async def submit(self, job: JobSpec) -> str:
        """Queue the job and return its id. Raises UsageError if it can never fit."""
        ...

    async def jobs(self) -> Mapping[str, JobInfo]:
        """All jobs of this site that wait or run, by job id, in one query."""
        ...

    async def ended(self, job_ids: Collection[str]) -> Mapping[str, JobEnd]:
        """Those of `job_ids` that have ended. Absence from it means not known to have ended."""
        ...

    async def cancel(self, job_id: str, *, gently: bool = False) -> None:
        """Ask the job to end. It has its grace to save, then it is ended. Idempotent.

        `gently`: its first process alone is asked, and sees to the end of all others within the
        grace itself, as `labkit node` does.
        """
        ...

    async def extend(self, job_id: str, walltime_s: int) -> None:
        """Set the walltime, in seconds from the start. Raises UsageError where it cannot be."""
        ...

    async def capacity(self) -> Sequence[Pool]: ...

    async def rights(self, user: str | None = None) -> Rights:
        """Who may name what; of that person alone, where one is given."""
        ...

    async def expected_start(self, job: JobSpec) -> datetime | None:
        """When the job would start if submitted now; None where that cannot be known.

        Raises UsageError where it can never start.
        """
        ...

    def beside(self, job_id: str, *, terminal: bool) -> list[str]:
        """What a command follows, so that it runs on the job's first node, for its owner alone.

        `terminal`: the command has the terminal of whoever starts it.
        """
        ...

    async def written(self, job: JobSpec) -> str:
        """What would be submitted, for people to read. Nothing of the environment is in it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing of the site's settings that was looked at."""

    key: str
    """The key path in `labkit.toml`, or what else was looked at."""
    found: str
    fix: str = ""
    """What is allowed and what to do; empty where all is well."""
    needed: bool = True
    """Whether sessions fail without it."""


@runtime_checkable
class CanBeChecked(Protocol):
    """A scheduler that says what of a site's settings it would not do."""

    async def check(
        self, cluster: str, profiles: Mapping[str, JobSpec], hub_user: str
    ) -> Sequence[Finding]:
        """`profiles` has what each profile would submit on this cluster."""
        ...

    async def named(self) -> Access:
        """All that there is to name, whoever asks."""
        ...


@runtime_checkable
class HasSoftware(Protocol):
    """A scheduler whose jobs run in software that a site names."""

    async def unusable_software(self, job: JobSpec) -> Sequence[tuple[str, str]]:
        """Each key of `software` that whoever asks could not use, and why; as seen from here."""
        ...


@runtime_checkable
class KeepsAccounts(Protocol):
    """A scheduler that says what jobs used."""

    async def used(self, job_ids: Collection[str]) -> Mapping[str, JobUse]:
        """Of those of `job_ids` that it still knows."""
        ...


class SchedulerPlugin(Protocol):
    """What a scheduler's module names as `SCHEDULER`."""

    Settings: "type[BaseModel]"
    """Its part of `labkit.toml`, under `[clusters.NAME]`."""

    def open(self, settings: Any, state_folder: Path) -> Scheduler:
        """The scheduler, given its `Settings` and a 0700 folder of its own."""
        ...


@dataclass(frozen=True, kw_only=True)
class DeviceHere:
    """A device of this machine that jobs may have."""

    accelerator: str
    """The kind of device: 'cpu', 'nvidia', …"""
    name: str
    """Its model, which is its type to the scheduler."""
    memory_bytes: int | None
    """None where the device does not tell."""


@runtime_checkable
class IsThisMachine(Protocol):
    """A scheduler's plug-in whose jobs run on the machine of whoever asks."""

    def devices(self, settings: Any) -> Sequence[DeviceHere]:
        """The processor, with the memory that jobs may hold together, then each GPU."""
        ...
