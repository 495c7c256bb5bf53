"""What is kept of a Ray job: a 0700 folder under the person's runs.

job.json    what was asked, and the scheduler's job
log.txt     what its processes printed
cluster/    how its nodes meet, with the cluster's secret while it lives
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labkit.errors import DamagedFile
from labkit.naming import free_name, look_up
from labkit.parsing import read_as
from labkit.paths import list_folder, private_folder, write_json
from labkit.raycluster.rendezvous import Rendezvous
from labkit.schedulers.base import JobResources
from labkit.settings import Site


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What `job.json` says."""

    name: str
    created: datetime
    command: Sequence[str]
    workdir: Path
    """Where the command runs, and its files lie."""
    cluster: str
    resources: JobResources
    walltime_s: int
    job_id: str = ""
    stop_asked: bool = False
    """Whether its owner wished it to end, which is then no failure."""


@dataclass(frozen=True, kw_only=True)
class RayJob(_Record):
    """One command on a private Ray cluster of its own."""

    folder: Path

    @property
    def ray_job_id(self) -> str:
        return self.folder.name

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def meeting(self) -> Rendezvous:
        return Rendezvous(self.folder / "cluster")

    def write(self) -> None:
        kept = {key: value for key, value in asdict(self).items() if key != "folder"}
        plain = {"created": self.created.isoformat(), "workdir": str(self.workdir)}
        write_json(self.folder / "job.json", kept | plain)


def new_job(site: Site, **asked: Any) -> RayJob:
    """A new record, written, of what was asked: the fields of `RayJob`. Its name is its own."""
    created = datetime.now(UTC)
    asked["name"] = free_name(asked["name"], {job.name for job in list_jobs(site)[0]})
    slug = "".join(c if c.isalnum() and c.isascii() else "-" for c in asked["name"].lower())
    ray_job_id = f"{created:%Y%m%d}-{slug[:16].strip('-') or 'ray'}-{secrets.token_hex(3)}"
    folder = private_folder(jobs_folder(site) / ray_job_id)
    job = RayJob(folder=folder, created=created, **asked)
    job.write()
    return job


def read_job(folder: Path) -> RayJob:
    """Raises DamagedFile."""
    file = folder / "job.json"
    found = read_as(_Record, file)
    if found is None:
        raise DamagedFile(f"{file} is missing.")
    return RayJob(folder=folder, **vars(found))


def list_jobs(site: Site) -> tuple[list[RayJob], list[DamagedFile]]:
    """All Ray jobs of this person, the newest first, and what is wrong with those left out."""
    jobs, damaged = [], []
    for folder in list_folder(jobs_folder(site)):
        try:
            jobs.append(read_job(folder))
        except DamagedFile as error:
            damaged.append(error)
    return sorted(jobs, key=lambda job: job.created, reverse=True), damaged


def find_job(site: Site, asked: str) -> RayJob:
    """By its id, the start or end of it, its name, or 'last'. Raises UsageError."""
    return look_up(
        asked,
        list_jobs(site)[0],
        lambda job: (job.ray_job_id, job.name),
        what="Ray job",
        listing="labkit ray list",
    )


def to_dict(job: RayJob) -> Mapping[str, Any]:
    """For programs."""
    return {"ray_job": job.ray_job_id, **asdict(job)}


def jobs_folder(site: Site) -> Path:
    """Where the person's Ray jobs are kept."""
    return site.runs / "ray-jobs"
