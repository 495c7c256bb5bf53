"""What a hub that was killed left behind: records without their job, jobs without a record. Pure.

Everything is matched by job id, owner and tag, never by a job's name, which its owner chooses.
Only what is seen is evidence: that a job is not in the queue says nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from labkit.schedulers.base import JobEnd, JobInfo, JobKind, JobState
from labkit_spawners.records import SessionRecord
from labkit_spawners.watch import is_end_since


@dataclass(frozen=True)
class Orphans:
    """What is to be mended on one cluster."""

    unnoted: Sequence[tuple[SessionRecord, str]] = ()
    """Sessions whose job was submitted, and the id that the hub did not live to note."""
    ended: Sequence[tuple[SessionRecord, JobEnd]] = ()
    """Sessions whose job ended while no hub looked."""
    unknown: Sequence[JobInfo] = ()
    """Jobs of sessions that no record knows: replaced by a later start, or their record is lost."""


Owns = Callable[[SessionRecord, JobInfo], bool]


def find_orphans(
    records: Sequence[SessionRecord],
    jobs: Mapping[str, JobInfo],
    ends: Mapping[str, JobEnd],
    *,
    owns: Owns,
    issued: Callable[[str], bool],
) -> Orphans:
    """`owns` says whether a job is that record's; `issued` whether a tag is of this hub."""
    return Orphans(
        unnoted=list(_unnoted(records, jobs, owns)),
        ended=[
            (record, end)
            for record in records
            if (end := ends.get(record.job_id))
            and record.job_id not in jobs
            and is_end_since(end, record.created)
        ],
        unknown=[
            job
            for job in jobs.values()
            if job.kind is JobKind.SESSION
            and job.state is not JobState.ENDING
            and issued(job.tag)
            and not any(owns(record, job) for record in records)
        ],
    )


def _unnoted(
    records: Sequence[SessionRecord], jobs: Mapping[str, JobInfo], owns: Owns
) -> Iterator[tuple[SessionRecord, str]]:
    for record in records:
        found = [] if record.job_id else [job for job in jobs.values() if owns(record, job)]
        if (
            len(found) == 1
        ):  # its owner may have copied its tag into another job: then it is neither
            yield record, found[0].job_id
