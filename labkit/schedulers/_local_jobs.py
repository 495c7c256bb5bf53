"""One job of the `local` scheduler: a row of its table, parsed.

Times are seconds since the epoch.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass
from enum import StrEnum
from pathlib import Path

from labkit.processes import ProcessIdentity
from labkit.schedulers._local_queue import Lease, Request, needs
from labkit.schedulers.base import JobKind, JobResources, JobSpec, Outcome


class Stage(StrEnum):
    PENDING = "pending"
    STARTING = "starting"
    """Its lease is given and its supervisor launched, which has not yet said so itself."""
    RUNNING = "running"
    ENDING = "ending"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One row."""

    job_id: str
    stage: Stage
    spec: JobSpec
    submitted: float
    claim: str | None
    claimed: float | None
    claims: int
    """How often it was started; more than once where a start failed."""
    launcher: ProcessIdentity | None
    supervisor: ProcessIdentity | None
    gpus: tuple[int, ...]
    started: float | None
    cancelled: bool
    """It was asked to end by a person."""

    @property
    def request(self) -> Request:
        walltime_s = self.spec.walltime_s
        return Request(job_id=self.job_id, needs=needs(self.spec), walltime_s=walltime_s)

    @property
    def lease(self) -> Lease:
        since = self.started or self.claimed or self.submitted
        until = since + self.spec.walltime_s
        return Lease(job_id=self.job_id, needs=needs(self.spec), gpus=self.gpus, until=until)


@dataclass(frozen=True, kw_only=True)
class End:
    """How a job ended."""

    outcome: Outcome
    exit_code: int | None = None
    reason: str = ""


def requests(jobs: Iterable[Job]) -> list[Request]:
    """Of those that wait."""
    return [job.request for job in jobs if job.stage is Stage.PENDING]


def leases(jobs: Iterable[Job]) -> list[Lease]:
    """Of those that are started, run or end."""
    return [job.lease for job in jobs if job.stage not in (Stage.PENDING, Stage.ENDED)]


def job_of(row: sqlite3.Row) -> Job:
    return Job(
        job_id=row["job_id"],
        stage=Stage(row["stage"]),
        spec=_spec(row),
        submitted=row["submitted"],
        claim=row["claim"],
        claimed=row["claimed"],
        claims=row["claims"],
        launcher=_identity(row["launcher"]),
        supervisor=_identity(row["supervisor"]),
        gpus=tuple(json.loads(row["gpus"])),
        started=row["started"],
        cancelled=bool(row["cancelled"]),
    )


def end_of(row: sqlite3.Row) -> End:
    outcome = Outcome(row["outcome"])
    return End(outcome=outcome, exit_code=row["exit_code"], reason=row["reason"])


def spec_text(spec: JobSpec) -> str:
    """The spec without its environment and walltime, which have columns of their own."""
    return json.dumps(
        {
            "name": spec.name,
            "kind": spec.kind,
            "argv": list(spec.argv),
            "folder": str(spec.folder),
            "log": str(spec.log),
            "resources": asdict(spec.resources),
            "grace_s": spec.grace_s,
            "tag": spec.tag,
        }
    )


def identity_text(identity: ProcessIdentity | None) -> str | None:
    return json.dumps(astuple(identity)) if identity else None


def _spec(row: sqlite3.Row) -> JobSpec:
    written = json.loads(row["spec"])
    return JobSpec(
        name=written["name"],
        kind=JobKind(written["kind"]),
        argv=written["argv"],
        folder=Path(written["folder"]),
        log=Path(written["log"]),
        resources=JobResources(**written["resources"]),
        walltime_s=row["walltime_s"],
        environment=json.loads(row["environment"]),
        grace_s=written["grace_s"],
        tag=written.get("tag", ""),
    )


def _identity(text: str | None) -> ProcessIdentity | None:
    if text is None:
        return None
    boot_id, pid, start_ticks = json.loads(text)
    return ProcessIdentity(boot_id=boot_id, pid=pid, start_ticks=start_ticks)
