"""What a job of Slurm's does to be started again, with a `scontrol` that writes down its calls."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from labkit.schedulers._slurm_again import has_lost_its_first, is_this_start
from labkit.schedulers._slurm_submit import arguments, others_step
from labkit.schedulers.base import AGAIN, JobKind, JobResources, JobSpec
from tests.waiting import wait_for

SHOWN = "JobId=7 JobState={state} Restarts={restarts} NodeList={nodes} BatchHost=n1"


class Job:
    """A job's first process, as Slurm starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.stop = folder, folder / "job", folder / "stop"
        self.calls, self.shown = folder / "calls", folder / "shown"
        scontrol = folder / "scontrol"
        scontrol.write_text(
            f'#!/bin/sh\necho "$@" >> {self.calls}\n[ "$1" = requeue ] || cat {self.shown}\n'
        )
        scontrol.chmod(0o755)
        self.calls.touch()
        self.shows()

    def shows(self, state: str = "RUNNING", restarts: int = 1, nodes: str = "n[1-2]") -> None:
        self.shown.write_text(SHOWN.format(state=state, restarts=restarts, nodes=nodes))

    def popen(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        what = {"argv": list(argv), "environment": {}, "restart_until": str(self.stop)}
        self.file.write_text(json.dumps(what))
        return self.python("labkit.schedulers._slurm_job", str(self.file))

    def python(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        path = f"{self.folder}:{os.environ['PATH']}"
        slurm = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1", "SLURM_PROCID": "0"}
        command = [sys.executable, "-P", "-m", module, *arguments]
        return subprocess.Popen(command, env={"PATH": path, **slurm})

    def run(self, code: int | str) -> int:
        return self.popen(["/bin/sh", "-c", f"exit {code}"]).wait(20)

    @property
    def was_requeued(self) -> bool:
        return "requeue 7" in self.calls.read_text().splitlines()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


@pytest.mark.parametrize("code", [AGAIN, 128 + signal.SIGTERM, 128 + signal.SIGKILL])
def test_a_job_that_wants_it_is_started_again_and_keeps_its_file(job, code):
    assert job.run(code) == code
    assert job.was_requeued and job.file.exists()


@pytest.mark.parametrize("code", [0, 1, 73])
def test_any_other_end_is_for_good(job, code):
    assert job.run(code) == code
    assert job.calls.read_text() == "" and not job.file.exists()


def test_what_a_person_stopped_is_not_started_again(job):
    job.stop.touch()
    assert job.run(AGAIN) == AGAIN
    assert not job.was_requeued and not job.file.exists()


@pytest.mark.parametrize("now", [{"state": "CANCELLED"}, {"state": "PENDING"}, {"restarts": 2}])
def test_what_slurm_ended_or_started_again_is_left_alone(job, now):
    job.shows(**now)
    job.run(AGAIN)
    assert not job.was_requeued


def test_a_warning_reaches_the_job_which_knows_how_often_it_was_started(job):
    ready = job.folder / "ready"
    told = f"trap 'exit {AGAIN}' TERM; echo $LABKIT_JOB_STARTS > {ready}; sleep 20 & wait"
    process = job.popen(["/bin/sh", "-c", told])
    wait_for(lambda: ready.exists() and ready.read_text() == "1\n", "the job")
    process.terminate()
    assert process.wait(20) == AGAIN
    assert job.was_requeued


def test_another_node_starts_it_again_once_slurm_has_given_up_the_first(job):
    job.shows(nodes="n2")
    failing = ["/bin/sh", "-c", "exit 1"]
    assert job.python("labkit.schedulers._slurm_again", *failing).wait(20) == 1
    assert job.was_requeued


def test_another_node_whose_part_ended_in_order_asks_nothing(job):
    assert job.python("labkit.schedulers._slurm_again", "/bin/true").wait(20) == 0
    assert job.calls.read_text() == ""


@pytest.mark.parametrize(
    ("nodes", "lost"), [("n[1-3]", False), ("n[2-3]", True), ("n1", False), ("n2,n10", True)]
)
def test_the_first_node_is_lost_when_it_is_none_of_the_jobs(nodes, lost):
    assert has_lost_its_first({"BatchHost": "n1", "NodeList": nodes}) is lost


def test_a_start_is_known_by_its_number():
    shown = {"JobState": "RUNNING", "Restarts": "0"}
    assert is_this_start(shown, {})
    assert not is_this_start(shown, {"SLURM_RESTART_COUNT": "1"})


def job_with(**given: Any) -> JobSpec:
    resources = JobResources(num_cpus=1, memory_bytes=2**30, num_nodes=2)
    return JobSpec(name="r", kind=JobKind.RUN, argv=["a"], others=["b"], folder=Path("/r"),
                   log=Path("/r/log"), resources=resources, walltime_s=600, **given)  # fmt: skip


def test_only_a_job_that_may_be_is_requeued_by_slurm():
    again = job_with(restart_until=Path("/r/stop"))
    assert "--requeue" in arguments(again) and "--no-requeue" in arguments(job_with())
    assert "labkit.schedulers._slurm_again" in others_step(again)
    assert others_step(job_with())[-1] == "b" and "-m" not in others_step(job_with())
