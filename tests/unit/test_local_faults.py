"""The scheduler `local`: whatever is killed, at whatever moment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labkit.processes import identify, is_alive
from labkit.schedulers import _local_start
from labkit.schedulers.base import (
    Outcome,
)
from tests.unit.local_lab import GB, REFUSES, SAVES, identity_json, until


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
