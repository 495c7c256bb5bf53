"""The scheduler `local`, with real processes: jobs, how they end, what is kept and what is set."""

import os
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from labkit.errors import UsageError
from labkit.parsing import parse
from labkit.processes import all_processes, identify, is_alive
from labkit.schedulers._local_jobs import End, Stage
from labkit.schedulers._local_table import JobTable
from labkit.schedulers.base import (
    JobKind,
    JobState,
    Outcome,
)
from labkit.schedulers.local import LocalSettings, machine_of
from tests.unit.local_lab import GB, MB, PYTHON, REFUSES, SAVES, Lab, mode, until

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
