"""What is shown of a run: the folder's last word, unless the scheduler says that it ended."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from labkit.runs.find import create_run
from labkit.runs.folder import Run, RunState, Status
from labkit.runs.spec import spec_from_flat
from labkit.runs.view import RunView, shown_status, view_runs
from labkit.schedulers.base import (
    JobEnd,
    JobInfo,
    JobKind,
    JobResources,
    JobState,
    Outcome,
)
from labkit.settings import Site

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRAINING = Status(state=RunState.TRAINING, phase="training", step=3, seconds_left=9.0)
DONE = Status(state=RunState.DONE, message="Better than all.")


def job(state: JobState, **given: Any) -> JobInfo:
    resources = JobResources(num_cpus=1, memory_bytes=1)
    return JobInfo(job_id="7", name="r", kind=JobKind.RUN, state=state, submitted=NOW,
                   resources=resources, **given)  # fmt: skip


def end(outcome: Outcome, exit_code: int | None = 1, reason: str = "") -> JobEnd:
    return JobEnd(job_id="7", outcome=outcome, exit_code=exit_code, ended=NOW, reason=reason)


PENDING = job(JobState.PENDING, place=2, reason="Another run has the GPU.")
NEXT = job(JobState.PENDING, place=3, reason="Others are before it.", waits_for="a free h100",
           people_before=2, expected_start=datetime(2126, 1, 1, tzinfo=UTC))  # fmt: skip
STUCK = job(JobState.PENDING, place=1, reason="Ask for less time.", stuck=True)
RUNNING = job(JobState.RUNNING)
AGAIN = Status(state=RunState.QUEUED, phase="The time of its job was over.", step=3)
RUNNING_SINCE_NOW = job(JobState.RUNNING, started=datetime.now(UTC) + timedelta(seconds=9))


@pytest.mark.parametrize(
    ("said", "info", "ended", "state", "words"),
    [
        (None, PENDING, None, "queued", "place 2 in the queue: Another run has the GPU."),
        (None, job(JobState.PENDING), None, "queued", "waiting"),
        (
            None,
            NEXT,
            None,
            "queued",
            "place 3 in the queue: waiting for a free h100, 2 other people "
            "before you. Expected to start by ",
        ),
        (None, STUCK, None, "queued", "it will not start as it is. Ask for less time."),
        (None, RUNNING, None, "starting", "starting its Ray cluster"),
        (None, job(JobState.UNKNOWN), None, "starting", "starting its Ray cluster"),
        (None, None, None, "queued", "its scheduler knows nothing of it yet"),
        (TRAINING, RUNNING, None, "training", "training"),
        (TRAINING, job(JobState.ENDING), None, "training", "saving a checkpoint, then ending"),
        # A scheduler that does not know the job, or does not answer, has ended nothing.
        (TRAINING, job(JobState.UNKNOWN), None, "training", "training"),
        (TRAINING, None, None, "training", "training"),
        # What has ended has ended, whatever the scheduler still says.
        (DONE, RUNNING, None, "done", "Better than all."),
        (DONE, None, end(Outcome.FAILED), "done", "Better than all."),
        (TRAINING, None, end(Outcome.CANCELLED), "stopped", "Stopped on request."),
        (TRAINING, None, end(Outcome.TIMEOUT), "stopped", "Its time was over."),
        (TRAINING, None, end(Outcome.OUT_OF_MEMORY), "failed", "It needed more memory."),
        (TRAINING, None, end(Outcome.OUT_OF_MEMORY, reason="9 GB."), "failed", "9 GB."),
        (TRAINING, None, end(Outcome.LOST, None), "failed", "the machine restarted."),
        (TRAINING, None, end(Outcome.FAILED, 3), "failed", "It ended with exit code 3; see its"),
        (TRAINING, None, end(Outcome.FAILED, 73), "failed", "The disk of its folder is full."),
        (TRAINING, None, end(Outcome.FAILED, 137, "By SIGKILL."), "failed", "By SIGKILL."),
        (None, None, end(Outcome.CANCELLED), "stopped", "Go on with: labkit run resume r"),
        (TRAINING, None, end(Outcome.CANCELLED, reason="Preempted."), "stopped", "Preempted."),
        # A job that is started again has the end of its earlier start behind it.
        (TRAINING, PENDING, None, "queued", "to be started again, place 2 in the queue"),
        (TRAINING, PENDING, end(Outcome.LOST), "queued", "to be started again"),
        (AGAIN, RUNNING, None, "queued", "The time of its job was over."),
        (AGAIN, job(JobState.ENDING), None, "queued", "The time of its job was over."),
        (AGAIN, RUNNING_SINCE_NOW, None, "starting", "starting its Ray cluster"),
        (TRAINING, RUNNING_SINCE_NOW, end(Outcome.LOST), "starting", "starting its Ray cluster"),
        (AGAIN, None, end(Outcome.FAILED, 75), "stopped", "could not be started again."),
    ],
)
def test_what_is_shown(said, info, ended, state, words):
    shown = shown_status(said, info, ended, "r")
    assert shown.state == state
    assert words in (shown.phase or shown.message)


def test_an_end_takes_nothing_from_what_was_reached():
    shown = shown_status(TRAINING, None, end(Outcome.TIMEOUT), "r")
    assert shown.step == 3
    assert shown.seconds_left is None


# Several runs at once.


def new_run(site: Site, name: str) -> Run:
    flat = {"recipe": "text-classification", "base": "b", "data": "/d/a.csv", "name": name}
    return create_run(site.runs, spec_from_flat(flat, source="test"), {})


async def view(site: Site, run: Run) -> RunView:
    (found,) = await view_runs(site, [run])
    return found


async def test_a_run_is_shown_from_the_moment_its_folder_exists(site):
    run = new_run(site, "pets")
    assert (await view(site, run)).status.phase == "being prepared"
    run.new_attempt(cluster="here").write_status(TRAINING)
    shown = await view(site, run)
    assert (shown.name, shown.attempt, shown.status) == ("pets", 1, TRAINING)


@pytest.mark.parametrize(
    "file", ["run.json", "spec.toml", "attempts/1/status.json", "attempts/1/attempt.json",
             "attempts/1/evaluation.json"]
)  # fmt: skip
async def test_a_damaged_run_is_named_and_hides_no_other(site, file):
    good, bad = new_run(site, "good"), new_run(site, "bad")
    for run in (good, bad):
        run.new_attempt(cluster="here").write_status(TRAINING)
    (bad.folder / file).write_bytes(b"\xff{")
    shown = {found.run: found for found in await view_runs(site, [good, bad])}
    assert shown[good].status == TRAINING
    assert shown[bad].status.state is RunState.DAMAGED
    assert str(bad.folder / file) in shown[bad].status.message


async def test_a_run_of_a_cluster_that_is_gone_says_so_until_it_has_ended(site):
    run = new_run(site, "pets")
    attempt = run.new_attempt(cluster="elsewhere")
    attempt.write_status(TRAINING)
    shown = await view(site, run)
    assert shown.status.state is RunState.TRAINING
    assert "No cluster is called 'elsewhere'" in shown.status.message
    attempt.write_status(replace(TRAINING, state=RunState.DONE, message="Fine."))
    assert (await view(site, run)).status.message == "Fine."


async def test_a_view_is_plain_data_for_programs(site):
    run = new_run(site, "pets")
    run.new_attempt(cluster="here").write_status(DONE)
    told = (await view(site, run)).to_dict()
    assert told["run"] == run.run_id and told["state"] == "done"
    assert {"accuracy", "macro_f1", "step", "loss", "message", "folder"} <= told.keys()
