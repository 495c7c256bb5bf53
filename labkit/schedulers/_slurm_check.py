"""What of a site's settings a Slurm would not do, and why. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from labkit.errors import did_you_mean, known_names
from labkit.schedulers._slurm_facts import Facts, KnownPartition
from labkit.schedulers._slurm_nodes import SHARD, Node
from labkit.schedulers.base import Finding, JobSpec
from labkit.units import format_duration, format_memory

OLDEST = (22, 5)
"""Of Slurm's versions that labkit was tried on; the newest is below."""
NEWEST = (24, 11)
KILL_WAIT_S = 30
MIN_JOB_AGE_S = 300


def check_slurm(facts: Facts, hub_user: str) -> Iterator[Finding]:
    """Slurm itself, whatever the site asks of it."""
    yield _version(facts)
    yield _operator(facts, hub_user)
    yield _job_env(facts)
    kill_wait = _number(facts, "KillWait")
    yield Finding(
        key="slurm.conf KillWait",
        found=f"{kill_wait} s",
        fix=f"A job that is cancelled has so long to save its work. Give it {KILL_WAIT_S} s or "
        "more; 60 s where runs are to save a checkpoint."
        if kill_wait < KILL_WAIT_S
        else "",
        needed=False,
    )


def _version(facts: Facts) -> Finding:
    tried = f"labkit was tried on {_dotted(OLDEST)} and {_dotted(NEWEST)}."
    odd = not OLDEST <= facts.version <= NEWEST
    return Finding(
        key="Slurm",
        found=facts.config.get("SLURM_VERSION", "no version said"),
        fix=f"{tried} Try a session of every profile before people do." if odd else "",
        needed=False,
    )


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]:02d}"


def _operator(facts: Facts, hub_user: str) -> Finding:
    key = f"Slurm's role of {hub_user}"
    if facts.accounts is None:
        age = _number(facts, "MinJobAge")
        return Finding(
            key="Slurm's accounting",
            found=f"no answer; ends of jobs are known for {age} s (MinJobAge)",
            fix="Without slurmdbd only root and SlurmUser may end other people's jobs. Set up "
            "accounting, and make the hub's user an operator: "
            f"sacctmgr add user {hub_user} account=YOURS adminlevel=operator",
        )
    level = facts.admin_level or "None"
    return Finding(
        key=key,
        found=level,
        fix=""
        if level in ("Operator", "Administrator")
        else "It cannot see, end and extend other people's jobs. Allowed: Operator. Do: "
        f"sacctmgr modify user {hub_user} set adminlevel=operator (or add user, where it is new).",
    )


def _job_env(facts: Facts) -> Finding:
    flags = facts.config.get("AccountingStoreFlags", "")
    return Finding(
        key="slurm.conf AccountingStoreFlags",
        found=flags or "none",
        fix="job_env puts every job's environment into the database. Take it out."
        if "job_env" in flags.split(",")
        else "",
    )


def _number(facts: Facts, key: str) -> int:
    """Of '30 sec'; 0 where it is not said."""
    first = facts.config.get(key, "").split(" ")[0]
    return int(first) if first.isdecimal() else 0


def check_names(facts: Facts, cluster: str, partition: str, account: str) -> Iterator[Finding]:
    """What the cluster's own part of the settings names."""
    if partition:
        yield _known(f"clusters.{cluster}.partition", partition, facts.partitions)
    elif not any(each.default for each in facts.partitions.values()):
        yield Finding(
            key=f"clusters.{cluster}.partition",
            found="left out, and Slurm has no default partition",
            fix=f"Name one of {known_names(facts.partitions)}.",
        )
    if account and facts.accounts is not None:
        yield _known(f"clusters.{cluster}.account", account, facts.accounts)


def check_profile(facts: Facts, name: str, job: JobSpec) -> Iterator[Finding]:
    """One profile: `job` is what it would submit, with the cluster's defaults filled in."""
    key = f"profiles.{name}"
    if job.account and facts.accounts is not None:
        yield _known(f"{key}.account", job.account, facts.accounts)
    if job.reservation:
        yield _known(f"{key}.reservation", job.reservation, facts.reservations)
    partition = _partition(facts, job.partition)
    if partition is None:
        yield _known(f"{key}.partition", job.partition or "none", facts.partitions)
        return
    if not partition.open:
        yield Finding(
            key=f"{key}.partition",
            found=f"{partition.name!r}, which is closed",
            fix=f"Open it: scontrol update partitionname={partition.name} state=up; or name "
            "another.",
        )
    longest = partition.max_walltime_s
    if longest is not None and job.walltime_s > longest:
        yield Finding(
            key=f"{key}.time",
            found=format_duration(job.walltime_s),
            fix=f"The partition {partition.name!r} allows {format_duration(longest)} at most.",
        )
    yield from _amounts(facts, key, partition, job)


def _partition(facts: Facts, name: str) -> KnownPartition | None:
    if name:
        return facts.partitions.get(name)
    return next((each for each in facts.partitions.values() if each.default), None)


def _known(key: str, found: str, known: Mapping[str, object] | Sequence[str]) -> Finding:
    wrong = found not in known
    nearest = did_you_mean(found, known) if wrong else ""
    return Finding(
        key=key,
        found=repr(found),
        fix=f"Slurm does not know it.{nearest} Allowed: {known_names(known)}." if wrong else "",
    )


def _amounts(facts: Facts, key: str, partition: KnownPartition, job: JobSpec) -> Iterator[Finding]:
    """Whether any node of the partition has as much, with the first amount that is too much."""
    nodes = [node for node in facts.nodes if partition.name in node.partitions]
    asked, where = job.resources, f"in the partition {partition.name!r}"
    if asked.num_gpus:
        types = sorted({kind for node in nodes for kind in node.devices})
        nodes = [node for node in nodes if _devices(node, asked.device)]
        if not nodes:
            yield Finding(
                key=f"{key}.device",
                found=repr(asked.device),
                fix=f"No node {where} has it. Allowed: {known_names(types)}.",
            )
            return
        most = max(_devices(node, asked.device) for node in nodes)
        if asked.num_gpus > most:
            yield Finding(
                key=f"{key}.gpus",
                found=f"{asked.num_gpus} of {asked.device or 'any type'}",
                fix=f"A node {where} has {most} at most.",
            )
            return
        nodes = [node for node in nodes if _devices(node, asked.device) >= asked.num_gpus]
    cores = max((node.total.num_cpus for node in nodes), default=0)
    if asked.num_cpus > cores:
        yield Finding(
            key=f"{key}.cores",
            found=str(asked.num_cpus),
            fix=f"A node {where} with what it asks has {cores} at most.",
        )
    memory = max((node.total.memory_bytes for node in nodes), default=0)
    if asked.memory_bytes > memory:
        yield Finding(
            key=f"{key}.memory",
            found=format_memory(asked.memory_bytes),
            fix=f"A node {where} with what it asks has {format_memory(memory)} at most.",
        )


def _devices(node: Node, kind: str) -> int:
    """How many of that type the node has; of all GPUs where any will do."""
    if kind in ("", "gpu"):
        return sum(count for name, count in node.devices.items() if name != SHARD)
    return node.devices.get(kind, 0)
