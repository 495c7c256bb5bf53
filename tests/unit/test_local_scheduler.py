import asyncio
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import UsageError
from labkit.parsing import parse
from labkit.processes import ProcessIdentity, all_processes, identify, is_alive
from labkit.schedulers import _local_start
from labkit.schedulers._local_jobs import End, Job, Stage
from labkit.schedulers._local_queue import (
    Amounts,
    Lease,
    Machine,
    Request,
    choose,
    forecast,
    reasons,
    refusal,
)
from labkit.schedulers._local_supervisor import grace_within, outcome_of, why_end
from labkit.schedulers._local_table import JobTable
from labkit.schedulers.base import (
    JobEnd,
    JobInfo,
    JobKind,
    JobResources,
    JobSpec,
    JobState,
    Outcome,
)
from labkit.schedulers.local import SCHEDULER, LocalScheduler, LocalSettings, machine_of

MB, GB = 2**20, 2**30
WAIT_S = 20
PYTHON = [sys.executable, "-S", "-c"]


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


@pytest.fixture
async def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    await lab.close()


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


# The queue, without a clock or a process.

MACHINE = Machine(
    num_cpus=8,
    memory_bytes=100,
    accelerator="nvidia",
    gpus=((0, "A"), (1, "A"), (2, "B"), (3, "B")),
)


def amounts(cpus=0, memory=0, gpus=0) -> Amounts:
    return Amounts(num_cpus=cpus, memory_bytes=memory, num_gpus=gpus)


def request(job_id: str, walltime_s=100, **needs) -> Request:
    return Request(job_id=job_id, needs=amounts(**needs), walltime_s=walltime_s)


def lease(job_id: str, gpus: tuple[int, ...] = (), until=50.0, **needs) -> Lease:
    return Lease(job_id=job_id, needs=amounts(gpus=len(gpus), **needs), gpus=gpus, until=until)


@pytest.mark.parametrize(
    ("waiting", "held", "starts"),
    [
        ([], [], {}),
        ([request("a", cpus=8), request("b", memory=100)], [], {"a": (), "b": ()}),
        # Devices are given by their index, the free ones, in order.
        ([request("a", gpus=2), request("b", gpus=1)], [], {"a": (0, 1), "b": (2,)}),
        ([request("a", gpus=2)], [lease("x", (0, 2))], {"a": (1, 3)}),
        # First come, first served: what the first lacks is not given to the second,
        ([request("a", gpus=4), request("b", gpus=1)], [lease("x", (0,))], {}),
        ([request("a", memory=60), request("b", memory=50)], [lease("x", memory=50)], {}),
        # but the second may start from what the first leaves.
        (
            [request("a", gpus=4, memory=40), request("b", memory=30), request("c", memory=30)],
            [lease("x", (0,), memory=10)],
            {"b": ()},
        ),
        # What can never start keeps nothing from the others.
        ([request("a", gpus=5, memory=90), request("b", memory=90)], [], {"b": ()}),
        # The machine was made smaller than what is held.
        ([request("a", memory=1)], [lease("x", memory=300)], {}),
        ([request("a", gpus=3)], [lease("x", (7, 8))], {"a": (0, 1, 2)}),
    ],
)
def test_what_starts_next(waiting, held, starts):
    chosen = choose(waiting, held, MACHINE, now=0)
    assert {lease.job_id: lease.gpus for lease in chosen} == starts


def test_a_start_is_foreseen_from_the_deadlines_of_those_before():
    waiting = [request("a", gpus=4), request("b", gpus=4), request("c", cpus=1)]
    held = [lease("x", (0,), until=30.0), lease("y", (1,), until=70.0)]
    assert forecast(waiting, held, MACHINE, now=10.0) == {"a": 70.0, "b": 170.0, "c": 10.0}


def test_a_start_that_cannot_be_foreseen_is_left_out():
    overdue = [lease("x", (0, 1, 2, 3), until=5.0)]
    assert forecast([request("a", gpus=4)], overdue, MACHINE, now=10.0) == {"a": 10.0}
    assert forecast([request("a", gpus=5)], [], MACHINE, now=10.0) == {}


def test_why_a_job_waits_is_said_in_plain_words():
    waiting = [request("a", gpus=2, memory=60), request("b", gpus=1), request("c", gpus=9)]
    why = reasons(waiting, [lease("x", (0, 1, 2), memory=50)], MACHINE)
    assert why["a"] == (
        "Waiting for GPUs (2 asked, 1 of 4 free for it) and memory (60 B asked, 50 B of 100 B "
        "free for it). 1 job is running."
    )
    assert why["b"] == (
        "Waiting for GPUs (1 asked, 0 of 4 free for it). 1 job is running; 1 job is before it."
    )
    assert why["c"].startswith("It cannot start: this machine now has 8 cores, 4 GPUs")


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"num_cpus": 9}, ["9 cores", "8 cores", "Ask for less"]),
        ({"memory_bytes": 2 * GB}, ["2.0 GB", "100 B"]),
        ({"num_gpus": 5, "accelerator": "nvidia"}, ["5 GPUs", "4 GPUs"]),
        ({"num_gpus": 1, "accelerator": "amd"}, ["'amd'", "'nvidia'"]),
        ({"num_nodes": 2}, ["2 nodes", "one machine"]),
    ],
)
def test_what_never_fits_is_refused_with_what_there_is(tmp_path, resources, words):
    spec = JobSpec(
        name="a",
        kind=JobKind.RUN,
        argv=["true"],
        folder=tmp_path,
        log=tmp_path / "log",
        resources=JobResources(**{"num_cpus": 1, "memory_bytes": 1} | resources),
        walltime_s=60,
    )
    why = refusal(spec, MACHINE)
    assert why and all(word in why for word in words)


def job_row(**spec) -> Job:
    resources = JobResources(num_cpus=1, memory_bytes=100)
    asked: dict[str, Any] = {"walltime_s": 100, "grace_s": 30} | spec
    return Job(
        job_id="1",
        stage=Stage.RUNNING,
        spec=JobSpec(
            name="",
            kind=JobKind.RUN,
            argv=[],
            folder=Path(),
            log=Path(),
            resources=resources,
            **asked,
        ),
        submitted=0,
        claim=None,
        claimed=None,
        claims=1,
        launcher=None,
        supervisor=None,
        gpus=(),
        started=0,
        cancelled=False,
    )


@pytest.mark.parametrize(
    ("run_s", "held_bytes", "cancelled", "outcome", "grace_s"),
    [
        (69, 100, False, None, None),
        (70, 0, False, Outcome.TIMEOUT, 30),
        (0, 101, False, Outcome.OUT_OF_MEMORY, 0),
        (0, 0, True, Outcome.CANCELLED, 30),
        (99, 0, True, Outcome.CANCELLED, 30),
    ],
)
def test_when_a_job_is_ended(run_s, held_bytes, cancelled, outcome, grace_s):
    job = replace(job_row(), cancelled=cancelled)
    ending = why_end(job, run_s=run_s, held_bytes=held_bytes)
    assert (ending and ending.outcome) == outcome
    assert (ending and ending.grace_s) == grace_s


def test_a_short_walltime_is_not_all_grace():
    assert grace_within(job_row(walltime_s=40, grace_s=30)) == 20


@pytest.mark.parametrize(
    ("exit_code", "outcome", "shown"),
    [(0, Outcome.COMPLETED, 0), (3, Outcome.FAILED, 3), (-9, Outcome.FAILED, 137)],
)
def test_how_a_job_ended_by_itself(exit_code, outcome, shown):
    end = outcome_of(exit_code, None)
    assert (end.outcome, end.exit_code) == (outcome, shown)
    assert bool(end.reason) == (exit_code != 0)


# Jobs, each with its processes.


async def test_a_job_finds_its_own_environment_and_nothing_of_the_submitters(lab, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_SUBMITTER", "1")
    job_id = await lab.submit("/usr/bin/env", environment={"GIVEN": "yes"})
    end = await lab.end(job_id)
    assert (end.outcome, end.exit_code, end.reason) == (Outcome.COMPLETED, 0, "")
    assert end.ended.tzinfo is UTC
    assert lab.log().splitlines() == ["GIVEN=yes", f"LABKIT_JOB_ID={job_id}"]


async def test_files_and_folders_are_for_their_owner_alone(lab):
    state = lab.folder / "state"
    job_id = await lab.started("sh", "-c", "umask; pwd; touch made; sleep 60")
    await until(lambda: (lab.folder / "made").exists())
    assert mode(state) == 0o700
    assert {mode(path) for path in state.iterdir()} == {0o600}
    assert mode(lab.folder / "job.log") == mode(lab.folder / "made") == 0o600
    assert lab.log().split() == ["0077", str(lab.folder)]
    await lab.scheduler.cancel(job_id)


async def test_a_job_waits_its_turn_and_is_started_by_the_end_of_the_one_before(lab):
    first = await lab.started("sh", "-c", "echo begun; sleep 60", memory_bytes=GB)
    second = await lab.submit("true", memory_bytes=GB)
    info = await lab.scheduler.jobs()
    assert info[first].state is JobState.RUNNING
    assert info[first].deadline == info[first].started + timedelta(seconds=600)
    assert (info[second].state, info[second].place) == (JobState.PENDING, 1)
    assert info[second].reason.startswith("Waiting for memory (1.0 GB asked, 0 B of 1.0 GB free")
    assert info[second].expected_start == info[first].deadline
    (pool,) = await lab.scheduler.capacity()
    (node,) = pool.nodes
    assert (node.total.num_cpus, node.free.num_cpus, node.free.memory_bytes) == (4, 3, 0)

    await lab.scheduler.cancel(first)
    await until(lambda: lab.table.ends([second]))  # no further query was made
    supervisor = lab.supervisor(second).pid
    await until(lambda: supervisor not in all_processes())  # and it left no zombie


async def test_sessions_share_cores_and_runs_do_not(lab):
    sessions = [await lab.submit("sleep", "60", num_cpus=4, kind=JobKind.SESSION) for _ in range(2)]
    await until(lambda: all(lab.job(job_id).stage is Stage.RUNNING for job_id in sessions))
    assert await lab.scheduler.expected_start(lab.spec("true", num_cpus=4)) <= datetime.now(UTC)


async def test_each_job_sees_the_gpus_that_it_holds_and_no_others(tmp_path):
    lab = Lab(tmp_path, accelerator="nvidia", num_gpus=3)
    for name, num_gpus in [("two", 2), ("one", 1), ("none", 0)]:
        script = "echo $CUDA_VISIBLE_DEVICES.; sleep 60"
        await lab.submit("sh", "-c", script, num_gpus=num_gpus, log=tmp_path / name)
    await until(lambda: all(lab.log(name) for name in ("two", "one", "none")))
    assert [lab.log(name).strip() for name in ("two", "one", "none")] == ["0,1.", "2.", "."]
    pools = await lab.scheduler.capacity()
    assert [(pool.accelerator, pool.num_gpus, pool.free_gpus) for pool in pools] == [
        ("cpu", 0, 0),
        ("nvidia", 3, 0),
    ]
    await lab.close()


async def test_what_can_never_fit_is_refused_at_once(lab):
    with pytest.raises(UsageError, match="this machine has 4 cores and 1.0 GB"):
        await lab.submit("true", memory_bytes=2 * GB)
    with pytest.raises(UsageError, match="'nvidia' asked; this machine has no GPU"):
        await lab.scheduler.expected_start(lab.spec("true", num_gpus=1))
    assert await lab.scheduler.jobs() == {}


async def test_a_program_that_is_not_there_fails_with_its_name(lab):
    end = await lab.end(await lab.submit("/no/such/program"))
    assert (end.outcome, end.exit_code) == (Outcome.FAILED, None)
    assert "/no/such/program" in end.reason


# How jobs are ended.

SAVES = "trap 'echo saved; exit 0' TERM; echo begun; while :; do sleep 0.02; done"
REFUSES = "trap '' TERM; echo begun; while :; do sleep 0.02; done"


async def test_a_cancelled_job_may_save_its_work(lab):
    job_id = await lab.started("sh", "-c", SAVES, grace_s=30)
    await lab.scheduler.cancel(job_id)
    await lab.scheduler.cancel(job_id)
    end = await lab.end(job_id)
    assert (end.outcome, end.exit_code) == (Outcome.CANCELLED, 0)
    assert lab.log().split() == ["begun", "saved"]
    await lab.scheduler.cancel(job_id)
    assert await lab.end(job_id) == end


async def test_a_cancelled_job_that_does_not_end_is_ended_after_its_grace(lab):
    job_id = await lab.started("sh", "-c", REFUSES, grace_s=1)
    await lab.scheduler.cancel(job_id)
    assert (await lab.info(job_id)).state is JobState.ENDING
    end = await lab.end(job_id)
    assert (end.outcome, end.exit_code) == (Outcome.CANCELLED, 128 + signal.SIGKILL)


async def test_cancelling_works_though_the_canceller_is_killed_half_way(lab):
    job_id = await lab.started("sh", "-c", "echo begun; sleep 60")
    lab.table.cancel(job_id)  # the row is written, and the supervisor not told
    assert (await lab.end(job_id)).outcome is Outcome.CANCELLED


async def test_a_waiting_job_is_cancelled_at_once(lab):
    await lab.submit("sleep", "60", memory_bytes=GB)
    waiting = await lab.submit("sh", "-c", "echo begun", memory_bytes=GB)
    await lab.scheduler.cancel(waiting)
    ends = await lab.scheduler.ended([waiting, "unknown"])
    assert {job_id: end.outcome for job_id, end in ends.items()} == {waiting: Outcome.CANCELLED}
    await lab.scheduler.cancel("unknown")


async def test_a_job_is_ended_when_its_time_is_over_and_may_save_before(lab):
    begun = time.time()
    job_id = await lab.started("sh", "-c", SAVES, walltime_s=1, grace_s=30)
    end = await lab.end(job_id)
    assert (end.outcome, end.exit_code) == (Outcome.TIMEOUT, 0)
    assert end.reason == "Its time of 1 s was over. Ask for more time."
    assert time.time() - begun < 10
    assert "saved" in lab.log()


async def test_the_time_of_a_running_job_can_be_set(lab):
    job_id = await lab.started("sh", "-c", "echo begun; sleep 60", walltime_s=600, grace_s=30)
    before = (await lab.info(job_id)).deadline
    await lab.scheduler.extend(job_id, 7200)
    assert (await lab.info(job_id)).deadline == before + timedelta(seconds=6600)
    with pytest.raises(UsageError, match="has run for"):
        await lab.scheduler.extend(job_id, 0)
    await lab.scheduler.extend(job_id, 3)
    assert (await lab.end(job_id)).outcome is Outcome.TIMEOUT
    with pytest.raises(UsageError, match="does not run any more"):
        await lab.scheduler.extend(job_id, 7200)


async def test_a_job_that_holds_more_memory_than_it_asked_for_is_ended(lab):
    hog = "import time; held = bytearray(200 * 2**20); time.sleep(60)"
    end = await lab.end(await lab.submit(*PYTHON, hog, memory_bytes=100 * MB))
    assert end.outcome is Outcome.OUT_OF_MEMORY
    assert re.fullmatch(
        r"It held \d+ MB of memory; 100 MB were asked. Ask for more memory.", end.reason
    )


DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    os._exit(0)
os.wait()
"""


async def test_a_daemon_that_a_job_leaves_behind_ends_with_it(lab):
    job_id = await lab.started(*PYTHON, DAEMON, grace_s=5)
    assert (await lab.end(job_id)).outcome is Outcome.COMPLETED
    assert identify(int(lab.log())) is None


async def test_a_job_that_was_submitted_from_within_a_job_outlives_it(lab):
    script = f"""
import asyncio
from pathlib import Path
from labkit.schedulers._local_table import JobTable
from labkit.schedulers.base import JobKind, JobResources, JobSpec
from labkit.schedulers.local import LocalScheduler
folder = Path({str(lab.folder)!r})
spec = JobSpec(name="inner", kind=JobKind.RUN, argv=["sleep", "60"], folder=folder,
    log=folder / "inner.log", resources=JobResources(num_cpus=1, memory_bytes=2**26), walltime_s=60)
scheduler = LocalScheduler(JobTable(folder / "state/jobs.sqlite"))
print(asyncio.run(scheduler.submit(spec)))
"""
    outer = await lab.submit(sys.executable, "-c", script, memory_bytes=GB // 2)
    assert (await lab.end(outer)).outcome is Outcome.COMPLETED, lab.log()
    inner = lab.log().strip()
    await until(lambda: lab.job(inner).stage is Stage.RUNNING)
    assert (await lab.info(inner)).state is JobState.RUNNING
    await until(lambda: lab.supervisor(outer).pid not in all_processes())
    assert is_alive(lab.supervisor(inner))


# Whatever is killed, at whatever moment.


async def test_after_its_supervisor_is_killed_a_job_is_lost_its_leftovers_ended_the_next_starts(
    lab,
):
    script = f"trap '' TERM; setsid sleep 60 & echo $!; {REFUSES}"
    job_id = await lab.started("sh", "-c", script, memory_bytes=GB)
    following = await lab.submit("true", memory_bytes=GB)
    os.kill(lab.supervisor(job_id).pid, signal.SIGKILL)
    supervisor = lab.supervisor(job_id)
    await until(lambda: not is_alive(supervisor))
    end = (await lab.scheduler.ended([job_id]))[job_id]
    assert end.outcome is Outcome.LOST
    assert "was killed" in end.reason
    assert identify(int(lab.log().split()[0])) is None
    assert (await lab.end(following)).outcome is Outcome.COMPLETED


async def test_a_leftover_without_the_jobs_environment_is_ended_too(lab):
    # As Ray's agents are, which write their title over it.
    deaf = "trap '' TERM; env -i sleep 60 & echo $!; wait"
    job_id = await lab.started("sh", "-c", deaf)
    nameless = identify(int(lab.log()))
    assert nameless
    supervisor = lab.supervisor(job_id)
    os.kill(supervisor.pid, signal.SIGKILL)
    await until(lambda: not is_alive(supervisor))
    assert (await lab.scheduler.ended([job_id]))[job_id].outcome is Outcome.LOST
    assert not is_alive(nameless)


async def test_when_its_supervisor_is_killed_a_job_is_asked_to_end(lab):
    job_id = await lab.started("sh", "-c", SAVES)
    os.kill(lab.supervisor(job_id).pid, signal.SIGKILL)
    await until(lambda: "saved" in lab.log())
    assert job_id not in await lab.scheduler.jobs()


async def test_a_supervisor_that_is_told_to_end_ends_its_job(lab):
    job_id = await lab.started("sh", "-c", SAVES, grace_s=30)
    os.kill(lab.supervisor(job_id).pid, signal.SIGTERM)
    end = await lab.end(job_id)
    assert (end.outcome, "saved" in lab.log()) == (Outcome.CANCELLED, True)
    assert "machine shuts down" in end.reason


@pytest.fixture
def bystander():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


async def test_a_process_that_has_the_id_of_a_dead_supervisor_is_not_touched(lab, bystander):
    job_id = lab.table.add(lab.spec("true"))
    of_another = identity_json(pid=bystander.pid, start_ticks=1)
    lab.forge(job_id, stage="running", supervisor=of_another, started=time.time())
    await lab.scheduler.cancel(job_id)
    assert (await lab.end(job_id)).outcome is Outcome.LOST
    assert bystander.poll() is None


async def test_after_a_restart_of_the_machine_running_jobs_are_lost_and_waiting_ones_start(lab):
    running, waiting = (lab.table.add(lab.spec("true", memory_bytes=GB)) for _ in range(2))
    before = identity_json(boot_id="before")
    lab.forge(running, stage="running", claim="a", supervisor=before, started=time.time())
    end = (await lab.scheduler.ended([running]))[running]
    assert (end.outcome, end.reason) == (
        Outcome.LOST,
        "This machine was restarted while the job ran.",
    )
    assert (await lab.end(waiting)).outcome is Outcome.COMPLETED


async def test_a_start_that_was_cut_short_is_made_again_and_the_first_is_void(lab):
    job_id = lab.table.add(lab.spec("sh", "-c", "echo begun"))
    gone = identity_json(start_ticks=1)
    lab.forge(job_id, stage="starting", claim="first", claimed=time.time(), launcher=gone, claims=1)
    await lab.scheduler.jobs()
    itself = identify(os.getpid())
    assert itself and lab.table.begin(job_id, "first", itself) is None
    assert (await lab.end(job_id)).outcome is Outcome.COMPLETED
    assert lab.log().split() == ["begun"]


async def test_a_start_that_is_still_under_way_is_left_alone(lab):
    job_id = lab.table.add(lab.spec("true"))
    ours, now = identity_json(), time.time()
    lab.forge(job_id, stage="starting", claim="first", claimed=now, launcher=ours, claims=1)
    assert (await lab.info(job_id)).reason == "It is being started."
    assert lab.job(job_id).claim == "first"
    lab.forge(job_id, claimed=now - 3600)  # nothing came of it
    await lab.scheduler.jobs()
    assert (await lab.end(job_id)).outcome is Outcome.COMPLETED


async def test_a_job_that_cannot_be_started_is_given_up_in_the_end(lab, monkeypatch):
    monkeypatch.setattr(_local_start, "_DETACH", "raise SystemExit(1)")
    job_id = await lab.submit("true")
    for _ in range(10):
        await lab.scheduler.jobs()
    end = await lab.end(job_id)
    assert end.outcome is Outcome.FAILED
    assert end.reason.startswith("It could not be started, 5 times: Command")


SUBMITTER = """
import asyncio, sys
from pathlib import Path
from labkit.schedulers._local_table import JobTable
from labkit.schedulers.base import JobKind, JobResources, JobSpec
from labkit.schedulers.local import LocalScheduler
folder = Path(sys.argv[1])
scheduler = LocalScheduler(JobTable(folder / "state/jobs.sqlite"))
spec = JobSpec(name="many", kind=JobKind.RUN, argv=["sh", "-c", "echo $LABKIT_JOB_ID"],
    folder=folder, log=folder / "many.log", walltime_s=60,
    resources=JobResources(num_cpus=1, memory_bytes=2**24))
async def main():
    print(*await asyncio.gather(*(scheduler.submit(spec) for _ in range(5))))
asyncio.run(main())
"""


def submit_from_processes(count: int, folder: Path) -> list[str]:
    """The ids of the five jobs that each of them submits, all at once."""
    command = [sys.executable, "-c", SUBMITTER, str(folder)]
    submitters = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
    return [job_id.decode() for s in submitters for job_id in s.communicate()[0].split()]


async def test_jobs_that_many_submit_at_once_are_started_once_each(lab):
    submitted = submit_from_processes(4, lab.folder)
    assert len(set(submitted)) == 20
    await until(lambda: len(lab.table.ends(submitted)) == 20)
    assert sorted(lab.log("many.log").split()) == sorted(submitted)


# What is kept, and what is set.


async def test_the_end_of_a_job_is_kept_and_its_environment_forgotten(lab, monkeypatch):
    old, ended = (lab.table.add(lab.spec("true", environment={"TOKEN": "x1y2"})) for _ in "ab")
    for job_id in (old, ended):
        lab.table.end(lab.job(job_id), End(outcome=Outcome.FAILED, reason="why"))
    assert b"x1y2" not in lab.table.path.read_bytes()
    lab.forge(old, ended=time.time() - 91 * 86400)
    lab.table.add(lab.spec("true"))
    ends = await lab.scheduler.ended([old, ended])
    assert {job_id: end.reason for job_id, end in ends.items()} == {ended: "why"}


def test_many_may_open_a_new_site_at_once(tmp_path):
    table = JobTable(tmp_path / "state" / "jobs.sqlite")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: table.create(), range(16)))
    assert table.live() == []


def test_settings_are_read_as_people_write_them():
    settings = parse(LocalSettings, {"memory": "2 GB", "num_cpus": 3}, source="test")
    machine = machine_of(settings)
    assert (machine.memory_bytes, machine.num_cpus) == (2 * GB, 3)
    with pytest.raises(UsageError, match="cpus: unknown key"):
        parse(LocalSettings, {"cpus": 3}, source="test")


def test_gpus_are_taken_from_the_settings_where_labkit_does_not_see_them():
    machine = machine_of(LocalSettings(accelerator="nvidia", num_gpus=2))
    assert (machine.accelerator, [index for index, _ in machine.gpus]) == ("nvidia", [0, 1])
    with pytest.raises(UsageError, match="Known: "):
        machine_of(LocalSettings(accelerator="nvidea"))


def test_what_is_left_out_is_found_on_the_machine():
    machine = machine_of(LocalSettings())
    assert machine.num_cpus >= 1
    assert 0 < machine.memory_bytes < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
