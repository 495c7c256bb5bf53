"""What a session holds and how long still, and by how much it may be extended. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from labkit.schedulers.base import JobInfo, Pool
from labkit.settings import Profile
from labkit_spawners.places import SHARE
from labkit_spawners.words import memory_in_words, time_in_words

_LEAST_S = 60
"""Less than that is no extension: Slurm counts in minutes."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What a press of 'Extend' would do."""

    seconds: int
    """By how much the session's end moves; 0 where it cannot."""
    walltime_s: int
    """How long it may then last, from its start."""
    why_not: str
    """In a sentence; '' where it can."""


@dataclass(frozen=True, kw_only=True)
class TimeLeft:
    """What the page of a session shows. Seconds, since the clocks of machines differ."""

    profile: str
    holds: Sequence[str]
    """As in '2 × h100', '8 cores', '32 GB'."""
    memory: str
    """As in '32 GB', on each node."""
    nodes: Sequence[str]
    seconds_left: float | None
    """None where there is no end."""
    extend_s: int
    why_not_extend: str


def time_left(title: str, device: str, job: JobInfo, extension: Extension, now: datetime):
    """`title` and `device` are those of its profile."""
    left = job.deadline and max(0.0, (job.deadline - now).total_seconds())
    return TimeLeft(
        profile=title,
        holds=holds(job, device),
        memory=memory_in_words(job.resources.memory_bytes),
        nodes=tuple(job.nodes),
        seconds_left=left,
        extend_s=extension.seconds,
        why_not_extend=extension.why_not,
    )


def holds(job: JobInfo, device: str) -> list[str]:
    """What the job holds, in words, the scarcest first."""
    asked = job.resources
    cores = "1 core" if asked.num_cpus == 1 else f"{asked.num_cpus} cores"
    return [*_devices(asked.num_gpus, device), cores, memory_in_words(asked.memory_bytes)]


def _devices(count: int, device: str) -> list[str]:
    if not count:
        return []
    if device == SHARE:
        return [f"{count} share{'s' if count > 1 else ''} of a GPU"]
    if device:
        return [f"{count} × {device}"]
    return ["1 GPU" if count == 1 else f"{count} GPUs"]


def longest_s(profile: Profile, pools: Sequence[Pool], limit_s: int | None) -> int:
    """How long it may last in all: by its profile, by its partition, by its person's limit."""
    partitions = [
        pool.max_walltime_s
        for pool in pools
        if (pool.partition == profile.partition if profile.partition else pool.default)
    ]
    limits = [profile.longest, limit_s, *partitions]
    return min([limit for limit in limits if limit], default=profile.time)


def extension(profile: Profile, job: JobInfo, longest: int) -> Extension:
    """By how much the session may be extended now; `longest` seconds are all that it may last."""
    if not profile.extend or job.deadline is None or job.started is None:
        return Extension(seconds=0, walltime_s=0, why_not="Sessions of this kind keep their end.")
    walltime_s = round((job.deadline - job.started).total_seconds())
    seconds = min(profile.extend, longest - walltime_s)
    if seconds < _LEAST_S:
        why_not = f"It may last {time_in_words(longest)} in all, and has as much already."
        return Extension(seconds=0, walltime_s=walltime_s, why_not=why_not)
    return Extension(seconds=seconds, walltime_s=walltime_s + seconds, why_not="")
