"""What keeps the `local` queue moving: every query, and every job's end, calls `advance`.

It finds jobs whose supervisor is gone, and starts those whose turn has come. Any number of
processes may do so at once, and any of them may be killed at any point of it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from labkit.processes import (
    ProcessIdentity,
    all_processes,
    boot_id,
    descendants,
    end_processes,
    environment_value,
    identify,
    identities,
    is_alive,
)
from labkit.schedulers._local_jobs import End, Job, Stage, leases, requests
from labkit.schedulers._local_queue import Lease, Machine, choose
from labkit.schedulers._local_table import JobTable
from labkit.schedulers.base import Outcome

JOB_ID = "LABKIT_JOB_ID"
"""The variable by which the processes of a job are known."""
LOOK = signal.SIGUSR1
"""Tells a supervisor that its job's row has changed. One that is lost costs two seconds."""

_CLAIM_S = 60.0
"""A claim older than this has come to nothing, whoever still holds it."""
_CLAIMS = 5
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH")

# Forks once more, so that the supervisor is nobody's child: it outlives the caller, and leaves
# no zombie in a hub that never waits for it. A program of its own, because forking a process
# with threads (the hub) is not safe. Standard output is the caller's pipe: not for keeping.
_DETACH = """
import os, sys
pid = os.fork()
if pid:
    print(pid)
else:
    os.setsid()
    os.dup2(2, 1)
    os.execv(sys.argv[1], sys.argv[1:])
"""


def advance(table: JobTable) -> None:
    """Find what has ended unseen, and start what may start. Takes milliseconds, 50 a start."""
    _settle(table)
    if _choose(table.live(), table.machine()):
        for job in table.claim(_choose):
            _launch(table, job)


def _choose(jobs: Sequence[Job], machine: Machine) -> list[Lease]:
    return choose(requests(jobs), leases(jobs), machine, time.time())


def _settle(table: JobTable) -> None:
    for job in table.live():
        if job.stage is Stage.STARTING and not _is_being_started(job):
            _put_back(table, job)
        elif job.stage in (Stage.RUNNING, Stage.ENDING) and not _is_supervised(job):
            # First its processes, then its lease: the next job needs what they hold.
            _end_leftovers(job)
            table.end(job, End(outcome=Outcome.LOST, reason=_lost(job)))


def _is_supervised(job: Job) -> bool:
    return job.supervisor is not None and is_alive(job.supervisor)


def _is_being_started(job: Job) -> bool:
    by = job.supervisor or job.launcher
    recent = time.time() - (job.claimed or 0) < _CLAIM_S
    return recent and by is not None and is_alive(by)


def _put_back(table: JobTable, job: Job, why: str | None = None) -> None:
    """A start that came to nothing. What is left of it finds its claim void and ends."""
    if job.claims < _CLAIMS:
        table.unclaim(job)
    else:
        why = why or f"{_log(table)} may say why."
        reason = f"It could not be started, {job.claims} times: {why}"
        table.give_up(job, End(outcome=Outcome.FAILED, reason=reason))


def _lost(job: Job) -> str:
    if job.supervisor and job.supervisor.boot_id != boot_id():
        return "This machine was restarted while the job ran."
    return (
        "The process that watched over the job was killed, by a person or because the machine "
        "ran out of memory, so the job was ended."
    )


def _end_leftovers(job: Job) -> None:
    """Kill what still runs of a job without supervisor. At once: its main process was asked
    to end when the supervisor died."""
    supervisor = job.supervisor
    if supervisor and supervisor.boot_id == boot_id():
        found: set[ProcessIdentity] = set()
        end_processes(lambda: _processes_of(job.job_id, supervisor, found), grace_s=0)


def _processes_of(
    job_id: str, supervisor: ProcessIdentity, found: set[ProcessIdentity]
) -> list[ProcessIdentity]:
    """Those that have the job's id in their environment, and all below them; adds to `found`.

    Ray's agents write their title over their environment, so it alone does not tell.
    """
    processes = all_processes()
    roots = [
        process
        for process in processes.values()
        if process.pid != os.getpid()
        and process.start_ticks >= supervisor.start_ticks
        and environment_value(process.pid, JOB_ID) == job_id
    ]

    def of_another(pid: int) -> bool:
        return environment_value(pid, JOB_ID) not in (None, job_id)

    below = [each for root in roots for each in descendants(processes, root.pid, skip=of_another)]
    found.update(identities([*roots, *below]))
    return [each for each in found if is_alive(each)]


def _launch(table: JobTable, job: Job) -> None:
    """Start the supervisor of a job that is claimed. A failure puts the job back."""
    try:
        with open(_log(table), "a", opener=_private) as log:
            pid = _detached_supervisor(table, job, log.fileno())
    except (OSError, subprocess.SubprocessError) as error:
        _put_back(table, job, str(error))
    else:
        table.launched(job, identify(pid))


def _detached_supervisor(table: JobTable, job: Job, log: int) -> int:
    """Its process id."""
    # -P: a module of a person's own in the current folder is never taken for one of ours.
    module = [sys.executable, "-P", "-m", "labkit.schedulers._local_supervisor"]
    # Not the caller's environment: jobs can read that of their supervisor, tokens and all.
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _DETACH]
        + [*module, str(table.path), job.job_id, str(job.claim)],
        env={**environment, JOB_ID: job.job_id},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        timeout=_CLAIM_S,
        check=True,
    )
    return int(done.stdout)


def _log(table: JobTable) -> Path:
    """What goes wrong with supervisors; the jobs' own words are in the jobs' own logs."""
    return table.path.parent / "supervisor.log"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
