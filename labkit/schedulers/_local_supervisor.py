"""The process beside each job of the `local` scheduler: starts it, watches it, writes its end.

Run by `_local_start` as `python -m labkit.schedulers._local_supervisor DATABASE JOB_ID CLAIM`,
detached. It waits in one place, for a signal or the time of the next look, and has no threads.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from labkit.processes import (
    ProcessStat,
    adopt_orphans,
    all_processes,
    descendants,
    end_processes,
    environment_value,
    identify,
    identities,
    memory_held,
    prctl,
)
from labkit.schedulers._local_jobs import End, Job
from labkit.schedulers._local_start import JOB_ID, LOOK, advance
from labkit.schedulers._local_table import JobTable
from labkit.schedulers.base import Outcome
from labkit.units import format_duration, format_memory

_SIGNALS = {signal.SIGCHLD, LOOK, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_LOOK_S = 2.0
_FIRST_LOOK_S = 0.1
_LEFTOVER_GRACE_S = 5.0
_BUSY_S = 120.0

_PR_SET_PDEATHSIG = 1
"""Of prctl(2); the number is part of Linux's interface to programs."""


def main(database: str, job_id: str, claim: str) -> None:
    os.umask(0o077)
    for signum in _SIGNALS - {LOOK}:
        signal.signal(signum, signal.SIG_DFL)  # one that a caller ignores would stay ignored
    # Held back from here on, and taken one by one where we wait: no handler can interrupt us.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    table = JobTable(Path(database), busy_s=_BUSY_S)
    itself = identify(os.getpid())
    assert itself
    job = table.begin(job_id, claim, itself)
    if job is None:
        return  # cancelled meanwhile, or another start was quicker
    supervisor = Supervisor(table, job)
    table.end(job, supervisor.run())
    if not supervisor.told_to_end:  # else the machine is likely shutting down
        advance(table)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Why a job is being ended, and how long it may still save its work."""

    outcome: Outcome
    reason: str
    grace_s: float


def why_end(job: Job, *, run_s: float, held_bytes: int, told: bool = False) -> Ending | None:
    """Whether a job that has run for that long, and holds that much memory, is to be ended."""
    asked_bytes, walltime_s = job.spec.resources.memory_bytes, job.spec.walltime_s
    if held_bytes > asked_bytes:
        # At once: in its grace it could take the memory that others were promised.
        reason = (
            f"It held {format_memory(held_bytes)} of memory; {format_memory(asked_bytes)} were "
            "asked. Ask for more memory."
        )
        return Ending(outcome=Outcome.OUT_OF_MEMORY, reason=reason, grace_s=0)
    if job.cancelled:
        return Ending(outcome=Outcome.CANCELLED, reason="", grace_s=job.spec.grace_s)
    if told:
        reason = "Its supervisor was told to end, as happens when the machine shuts down."
        return Ending(outcome=Outcome.CANCELLED, reason=reason, grace_s=job.spec.grace_s)
    if run_s >= walltime_s - grace_within(job):
        reason = f"Its time of {format_duration(walltime_s)} was over. Ask for more time."
        return Ending(outcome=Outcome.TIMEOUT, reason=reason, grace_s=grace_within(job))
    return None


def grace_within(job: Job) -> float:
    """The part of the walltime that is for saving: the grace, but at most half of it all."""
    return min(job.spec.grace_s, job.spec.walltime_s / 2)


def outcome_of(exit_code: int, ending: Ending | None) -> End:
    """The end of a job from its main process's exit code, negative where a signal ended it."""
    # As shells and Slurm count: 128 + signal.
    shown = exit_code if exit_code >= 0 else 128 - exit_code
    if ending:
        return End(outcome=ending.outcome, exit_code=shown, reason=ending.reason)
    if exit_code == 0:
        return End(outcome=Outcome.COMPLETED, exit_code=0)
    reason = f"It ended with exit code {exit_code}. Its log may say why."
    if exit_code < 0:
        reason = f"It was ended by {signal.Signals(-exit_code).name}, sent by another process."
    if exit_code == -signal.SIGKILL:
        reason += " Linux does so when the machine runs out of memory."
    return End(outcome=Outcome.FAILED, exit_code=shown, reason=reason)


class Supervisor:
    """One job, from its start to the end of the last of its processes."""

    def __init__(self, table: JobTable, job: Job) -> None:
        self.table = table
        self.job = job
        self.told_to_end = False
        """By a signal, as every process is when the machine shuts down."""
        self._ending: Ending | None = None
        self._kill_at = float("inf")
        # Not the clock on the wall: that jumps when somebody sets it.
        self._started = time.monotonic()

    def run(self) -> End:
        try:
            main_pid = start(self.job, environment_of(self.job, self.table))
        except (OSError, subprocess.SubprocessError) as error:
            return End(outcome=Outcome.FAILED, reason=f"It could not be started: {error}.")
        exit_code = self._watch(main_pid)
        grace_s = min(_LEFTOVER_GRACE_S, self.job.spec.grace_s)
        end_processes(lambda: identities(self._processes()), grace_s=grace_s)
        return outcome_of(exit_code, self._ending)

    def _watch(self, main_pid: int) -> int:
        """Wait for the main process's end, and bring it about where it is time. Its exit code."""
        look_at, interval_s = 0.0, _FIRST_LOOK_S
        while (exit_code := reap(main_pid)) is None:
            if time.monotonic() >= look_at:
                self._look(main_pid)
                look_at = self._next_look(interval_s)
                interval_s = min(_LOOK_S, interval_s * 2)  # most memory is taken early
            told = signal.sigtimedwait(_SIGNALS, max(0.0, look_at - time.monotonic()))
            if told and told.si_signo != signal.SIGCHLD:
                self.told_to_end |= told.si_signo in (signal.SIGTERM, signal.SIGINT)
                look_at = 0.0
        return exit_code

    def _look(self, main_pid: int) -> None:
        self.job = self._row()
        processes = self._processes()
        run_s = time.monotonic() - self._started
        held_bytes = memory_held(processes, self.job.spec.resources.memory_bytes)
        ending = why_end(self.job, run_s=run_s, held_bytes=held_bytes, told=self.told_to_end)
        if ending and self._ending is None:
            self._ending = ending
            self._kill_at = time.monotonic() + ending.grace_s
            if ending.grace_s:
                os.kill(main_pid, signal.SIGTERM)  # a child not yet waited for keeps its id
            with suppress(sqlite3.OperationalError):  # for the eye only: it ends all the same
                self.table.set_ending(self.job.job_id)
        if time.monotonic() >= self._kill_at or (ending and not ending.grace_s):
            end_processes(lambda: identities(self._processes()), grace_s=0)

    def _next_look(self, interval_s: float) -> float:
        now = time.monotonic()
        walltime_at = self._started + self.job.spec.walltime_s - grace_within(self.job)
        due = [now + interval_s, self._kill_at, walltime_at]
        return min(at for at in due if at > now)

    def _row(self) -> Job:
        try:
            job = self.table.get(self.job.job_id)
        except sqlite3.OperationalError:
            if self.table.path.exists():
                return self.job  # the disk is slow: what was true will do until the next look
            job = None
        # Forgotten: no query would ever find it again, so nobody could end it.
        return job or replace(self.job, cancelled=True)

    def _processes(self) -> list[ProcessStat]:
        """All processes of the job: those below this one, to which orphans come back.

        But not those of jobs that were submitted from within this one: they are below it too.
        """
        return descendants(all_processes(), os.getpid(), skip=self._is_of_another_job)

    def _is_of_another_job(self, pid: int) -> bool:
        return environment_value(pid, JOB_ID) not in (None, self.job.job_id)


def environment_of(job: Job, table: JobTable) -> dict[str, str]:
    """The whole environment of the job: its own, its devices, and its id."""
    machine = table.machine()
    devices: Mapping[str, str] = {}
    if machine.gpus:
        from labkit.accelerators import ACCELERATORS

        # Also for a job without GPUs, which else would see them all.
        devices = ACCELERATORS.load(machine.accelerator).visible_environment(job.gpus)
    return {**job.spec.environment, **devices, JOB_ID: job.job_id}


def start(job: Job, environment: Mapping[str, str]) -> int:
    """Start the job's main process. Its process id. Raises OSError."""
    adopt_orphans()  # so that a daemon that the job leaves behind is found and ended with it
    log = os.open(job.spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            job.spec.argv,
            cwd=job.spec.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_before_exec(os.getpid()),
        )
    finally:
        os.close(log)
    process.returncode = 0  # `reap` waits for it: Popen shall neither do so nor warn
    return process.pid


def reap(main_pid: int) -> int | None:
    """Take leave of children that have ended. The main one's exit code once it is among them."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == main_pid:
            return os.waitstatus_to_exitcode(status)
        if pid == 0:
            return None


def _before_exec(supervisor_pid: int) -> Callable[[], None]:
    """What the child does between fork and exec.

    Python warns of such functions: a lock that another thread held at the fork stays locked in
    the child. Here there is no other thread, and ctypes found `prctl` before the fork.
    """

    ask_kernel = prctl()

    def before_exec() -> None:
        # If the supervisor is killed, the job is asked to end. This counts from now on, so the
        # supervisor must not have died before. It ends with the *thread* that forked: the only.
        ask_kernel(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != supervisor_pid:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # else the job could not be asked to end

    return before_exec


if __name__ == "__main__":
    main(*sys.argv[1:])
