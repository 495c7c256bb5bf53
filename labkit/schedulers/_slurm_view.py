"""From what Slurm's commands print to the words of every scheduler. Pure.

Names and comments of jobs are chosen by their owners, who could write in them what looks
like a line about somebody else's job. So each record begins with a mark that nobody knew
before the question was asked.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from labkit.schedulers._slurm_nodes import SHARD
from labkit.schedulers._slurm_reasons import in_words, is_stuck, waits_in_turn
from labkit.schedulers.base import (
    JobEnd,
    JobInfo,
    JobKind,
    JobResources,
    JobState,
    Outcome,
)
from labkit.units import parse_memory

COMMENT = "labkit:"
"""Begins the comment of a job of ours, followed by its kind and its tag."""

_FIELDS = ("%A", "%u", "%T", "%r", "%P", "%Q", "%V", "%S", "%e", "%N", "%C", "%m", "%b", "%k", "%j")

_STATES = {
    "PENDING": JobState.PENDING,
    "CONFIGURING": JobState.PENDING,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.PENDING,
    "SPECIAL_EXIT": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "SUSPENDED": JobState.RUNNING,
    "STOPPED": JobState.RUNNING,
    "STAGE_OUT": JobState.ENDING,
    "COMPLETING": JobState.ENDING,
}

_OUTCOMES = {
    "COMPLETED": (Outcome.COMPLETED, ""),
    "FAILED": (Outcome.FAILED, ""),
    "CANCELLED": (Outcome.CANCELLED, ""),
    "TIMEOUT": (Outcome.TIMEOUT, "Its time was over. Ask for more time."),
    "DEADLINE": (Outcome.TIMEOUT, "Its deadline passed before it could be done."),
    "OUT_OF_MEMORY": (Outcome.OUT_OF_MEMORY, "It took more memory than was asked."),
    "NODE_FAIL": (Outcome.LOST, "Its node failed."),
    "BOOT_FAIL": (Outcome.LOST, "Its node could not be started."),
    "PREEMPTED": (Outcome.CANCELLED, "A job of higher priority took its place."),
    "REVOKED": (Outcome.CANCELLED, "Another cluster took the job."),
}


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """One record of `squeue`."""

    info: JobInfo
    ours: bool
    """Whether labkit submitted it, by what its owner says of it."""
    partition: str
    priority: int


def queue_format(mark: str) -> str:
    """What `squeue -o` is to print of each job."""
    return mark + mark.join(_FIELDS) + mark


def parse_queue(text: str, mark: str) -> list[QueuedJob]:
    """The jobs; a record that was cut off is left out, which proves nothing of its job."""
    fields = text.split(mark)[1:]
    size = len(_FIELDS) + 1  # what follows a record is the end of its line
    records = [fields[i : i + size] for i in range(0, len(fields), size)]
    return [_queued(record) for record in records if len(record) == size]


def _queued(record: Sequence[str]) -> QueuedJob:
    job_id, user, state, reason, partition, priority, submitted, start, end = record[:9]
    nodes, cpus, memory, gres, comment, name, _ = record[9:]
    device, num_gpus = devices_of(gres)
    kind, _, tag = comment.removeprefix(COMMENT).partition(":")
    ours = comment.startswith(COMMENT) and kind in list(JobKind)
    mapped = _STATES.get(state, JobState.UNKNOWN)
    waits = mapped is JobState.PENDING
    return QueuedJob(
        info=JobInfo(
            job_id=job_id,
            name=name,
            kind=JobKind(kind) if ours else JobKind.RUN,
            user=user,
            tag=tag if ours else "",
            state=mapped,
            reason=in_words(reason) if waits else "",
            waits_for=_wanted(device, num_gpus) if waits and waits_in_turn(reason) else "",
            stuck=waits and is_stuck(reason),
            expected_start=parse_time(start) if waits else None,
            submitted=parse_time(submitted) or datetime.fromtimestamp(0, UTC),
            started=None if waits else parse_time(start),
            deadline=None if waits else parse_time(end),
            nodes=tuple(expand_hosts(nodes)),
            resources=JobResources(
                num_cpus=int(cpus),
                memory_bytes=_memory(memory),
                num_gpus=num_gpus,
                device=device,
            ),
        ),
        ours=ours,
        partition=partition,
        priority=int(priority),
    )


def parse_ends(text: str) -> Iterator[JobEnd]:
    """Those that have ended, of `sacct -P -o JobIDRaw,State,ExitCode,End`.

    A state without the time of its end is none yet: of a job that is over before the database
    knows that it began, the beginning is written with the state of the end, and its exit code
    and time only later (as_mysql_job_start in Slurm's accounting_storage/mysql).
    """
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != 4:
            continue  # cut off
        job_id, state, code, ended = fields
        known, when = _OUTCOMES.get(state.partition(" ")[0]), parse_time(ended)
        if known and when:
            outcome, reason = known
            yield JobEnd(
                job_id=job_id,
                outcome=outcome,
                exit_code=_exit_code(code),
                ended=when,
                reason=reason,
            )


def _exit_code(text: str) -> int | None:
    """Of 'code:signal'."""
    code, _, signum = text.partition(":")
    if not (code.isdecimal() and signum.isdecimal()):
        return None
    return 128 + int(signum) if int(signum) else int(code)


def parse_time(text: str) -> datetime | None:
    """Of seconds since the epoch; None for 'N/A', 'Unknown' and the like."""
    return datetime.fromtimestamp(int(text), UTC) if text.isdecimal() else None


@dataclass(frozen=True)
class Place:
    """Where a waiting job stands."""

    number: int
    people_before: int


def places(jobs: Sequence[QueuedJob]) -> Mapping[str, Place]:
    """For each waiting job of ours its place among those that want the same of its partition.

    A job without devices waits for cores and memory, of which every job takes.
    """
    found: dict[str, Place] = {}
    before: dict[tuple[str, str], list[str]] = defaultdict(list)
    waiting = [job for job in jobs if job.info.state is JobState.PENDING]
    for job in sorted(waiting, key=lambda job: (-job.priority, job.info.submitted)):
        kind = _kind(job.info.resources)
        if job.ours:
            rivals = [
                user
                for (partition, theirs), users in before.items()
                if partition == job.partition and _compete(kind, theirs)
                for user in users
            ]
            found[job.info.job_id] = Place(len(rivals) + 1, len({*rivals} - {job.info.user}))
        before[job.partition, kind].append(job.info.user)
    return found


_ANY, _NONE = "any GPU", ""


def _kind(resources: JobResources) -> str:
    return (resources.device or _ANY) if resources.num_gpus else _NONE


def _compete(mine: str, theirs: str) -> bool:
    if mine in (_NONE, theirs):
        return True
    return SHARD not in (mine, theirs) and _NONE != theirs and _ANY in (mine, theirs)


def expand_hosts(text: str) -> list[str]:
    """'n[1-3,07]' to names, as Slurm's hostlists are written."""
    found = []
    for prefix, ranges, suffix in re.findall(r"([^,\[]+)(?:\[([^\]]*)\])?([^,\[]*)", text):
        if not ranges:
            found.append(prefix + suffix)
            continue
        for part in ranges.split(","):
            first, _, last = part.partition("-")
            for number in range(int(first), int(last or first) + 1):
                found.append(f"{prefix}{number:0{len(first)}d}{suffix}")
    return found


def _memory(text: str) -> int:
    """Slurm writes '4G', and '0' for all of a node."""
    return parse_memory(text) if re.fullmatch(r"\d+(\.\d+)?[KMGT]?", text) else 0


def devices_of(gres: str) -> tuple[str, int]:
    """The type of device and its number, of 'gres:gpu:h100:2'; ('', 0) of 'N/A'."""
    found = re.findall(r"(gpu|shard)(?::([^:,=]+(?=[:=])))?(?:[:=](\d+))?", gres)
    kinds = {SHARD if name == SHARD else kind for name, kind, _ in found}
    count = sum(int(count or 1) for _, _, count in found)
    return (kinds.pop() if len(kinds) == 1 else ""), count


def _wanted(device: str, count: int) -> str:
    """'a free h100', '2 free h100', '2 free shares of a GPU'."""
    if not count:
        return "free cores and memory"
    # What a site calls its devices has no plural: '1g.10gb'.
    one, many = {"": ("GPU", "GPUs"), SHARD: ("share of a GPU", "shares of a GPU")}.get(
        device, (device, device)
    )
    return f"a free {one}" if count == 1 else f"{count} free {many}"
