"""A scheduler `local` of its own in an empty folder, for tests of it."""

import asyncio
import json
import os
import sqlite3
import stat
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit.parsing import parse
from labkit.processes import ProcessIdentity, all_processes, identify
from labkit.schedulers._local_jobs import Job, Stage
from labkit.schedulers.base import (
    JobEnd,
    JobInfo,
    JobKind,
    JobResources,
    JobSpec,
)
from labkit.schedulers.local import SCHEDULER, LocalScheduler, LocalSettings

MB, GB = 2**20, 2**30
WAIT_S = 20
PYTHON = [sys.executable, "-S", "-c"]
SAVES = "trap 'echo saved; exit 0' TERM; echo begun; while :; do sleep 0.02; done"
REFUSES = "trap '' TERM; echo begun; while :; do sleep 0.02; done"


class Lab:
    """A scheduler of its own in an empty folder, and what the tests ask of it."""

    def __init__(self, folder: Path, **settings):
        self.folder = folder
        given = {"num_cpus": 4, "memory": "1 GB", "num_gpus": 0} | settings
        self.settings = parse(LocalSettings, given, source="test")
        self.scheduler: LocalScheduler = SCHEDULER.open(self.settings, folder / "state")
        self.table = self.scheduler._table

    def spec(self, *argv: str, memory_bytes=64 * MB, num_gpus=0, num_cpus=1, **changes) -> JobSpec:
        resources = JobResources(
            num_cpus=num_cpus,
            memory_bytes=memory_bytes,
            num_gpus=num_gpus,
            accelerator="nvidia" if num_gpus else "cpu",
        )
        given: dict[str, Any] = {
            "name": "test",
            "kind": JobKind.RUN,
            "folder": self.folder,
            "log": self.folder / "job.log",
            "walltime_s": 600,
            "grace_s": 0,
        }
        return JobSpec(argv=argv, resources=resources, **given | changes)

    async def submit(self, *argv: str, **changes) -> str:
        return await self.scheduler.submit(self.spec(*argv, **changes))

    async def started(self, *argv: str, **changes) -> str:
        """A job that has begun: its main process has written a line to its log."""
        job_id = await self.submit(*argv, **changes)
        await until(lambda: self.log() or self.job(job_id).stage is Stage.ENDED)
        return job_id

    async def end(self, job_id: str) -> JobEnd:
        await until(lambda: self.table.ends([job_id]))
        return (await self.scheduler.ended([job_id]))[job_id]

    async def info(self, job_id: str) -> JobInfo:
        return (await self.scheduler.jobs())[job_id]

    def job(self, job_id: str) -> Job:
        job = self.table.get(job_id)
        assert job
        return job

    def supervisor(self, job_id: str) -> ProcessIdentity:
        supervisor = self.job(job_id).supervisor
        assert supervisor
        return supervisor

    def log(self, name: str = "job.log") -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def forge(self, job_id: str, **columns) -> None:
        """Write a row as a process would have that was killed meanwhile."""
        assignments = ", ".join(f"{name} = ?" for name in columns)
        with closing(sqlite3.connect(self.table.path)) as db, db:
            db.execute(
                f"UPDATE jobs SET {assignments} WHERE job_id = ?", (*columns.values(), job_id)
            )

    async def close(self) -> None:
        for job_id in await self.scheduler.jobs():
            await self.scheduler.cancel(job_id)
        await until(lambda: not self.table.live())
        await until(lambda: not processes_with(str(self.table.path)))


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.02)


def processes_with(argument: str) -> list[int]:
    """The ids of all processes whose command line holds it."""
    found = []
    for pid in all_processes():
        with suppress(OSError):  # it has ended since
            if argument.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def identity_json(**changes) -> str:
    identity = identify(os.getpid())
    assert identity
    identity = replace(identity, **changes)
    return json.dumps([identity.boot_id, identity.pid, identity.start_ticks])
