"""What is kept of a Ray job: a 0700 folder under the person's runs.

job.json    what was asked, and the scheduler's job
log.txt     what its processes printed
cluster/    how its nodes meet, with the cluster's secret while it lives
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from labkit.errors import DamagedFile
from labkit.lookup import look_up
from labkit.paths import list_folder, private_folder, read_json, write_json
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

    folder: Path = field(kw_only=True)

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
        kept = {key: getattr(self, key) for key in _Record.__dataclass_fields__}
        write_json(self.folder / "job.json", _reader().dump_python(_Record(**kept), mode="json"))


def new_job(site: Site, **asked: Any) -> RayJob:
    """A new record, written, of what was asked: the fields of `RayJob`."""
    created = datetime.now(UTC)
    slug = "".join(c if c.isalnum() and c.isascii() else "-" for c in asked["name"].lower())
    ray_job_id = f"{created:%Y%m%d}-{slug[:16].strip('-') or 'ray'}-{secrets.token_hex(3)}"
    folder = private_folder(_folder(site) / ray_job_id)
    job = RayJob(folder=folder, created=created, **asked)
    job.write()
    return job


def read_job(folder: Path) -> RayJob:
    """Raises DamagedFile."""
    file = folder / "job.json"
    found = read_json(file)
    if found is None:
        raise DamagedFile(f"{file} is missing.")
    try:
        return RayJob(folder=folder, **vars(_reader().validate_python(found)))
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise DamagedFile(f"{file} is damaged: {key} is wrong or missing.") from error


def list_jobs(site: Site) -> tuple[list[RayJob], list[DamagedFile]]:
    """All Ray jobs of this person, the newest first, and what is wrong with those left out."""
    jobs, damaged = [], []
    for folder in list_folder(_folder(site)):
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


def _folder(site: Site) -> Path:
    return site.runs / "ray-jobs"


@cache
def _reader() -> TypeAdapter[_Record]:
    return TypeAdapter(_Record)
