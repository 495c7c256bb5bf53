"""Which attempt each start of a run's job works on, and when there is none more."""

import os
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from labkit.errors import LabkitError
from labkit.paths import write_json
from labkit.runs import work as work_module
from labkit.runs.execute import last_word
from labkit.runs.find import create_run
from labkit.runs.folder import Attempt, Run, RunState, Status
from labkit.runs.spec import spec_from_flat
from labkit.runs.starts import MAX_FRUITLESS, Start, fruitless_starts, used_s
from labkit.runs.work import Worker, context_of, work
from labkit.schedulers.base import STARTS

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def after_noon(seconds: float) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat()


@pytest.fixture
def run(site, monkeypatch: pytest.MonkeyPatch) -> Run:
    """One that was submitted for an hour."""
    monkeypatch.setenv(STARTS, "0")
    flat = {"recipe": "text-classification", "base": "b", "data": "/d/a.csv", "time": "1h"}
    run = create_run(site.runs, spec_from_flat(flat, source="test"), {})
    run.new_attempt(cluster="slurm", job_id="7")
    return run


def save(attempt: Attempt, step: int) -> None:
    (attempt.folder / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)


def worked(attempt: Attempt, began: float, ended: float, **given: object) -> None:
    given = {"state": RunState.TRAINING, **given}
    status = Status(started=after_noon(began), updated=after_noon(ended), **given)  # type: ignore[arg-type]
    attempt.write_status(status)


def again(run: Run, number: int) -> Attempt:
    return Start(run, 1, number).begin()


def state_of(attempt: Attempt) -> Status:
    status = attempt.status()
    assert status is not None
    return status


def test_the_first_start_works_on_the_attempt_that_it_was_submitted_for(run):
    attempt = again(run, 0)
    assert attempt.number == 1
    assert state_of(attempt).state is RunState.STARTING


def test_another_start_goes_on_from_the_newest_checkpoint_in_an_attempt_of_its_own(run):
    first = again(run, 0)
    save(first, 20)
    save(first, 10)
    worked(first, 0, 600, step=20)
    second = again(run, 1)
    assert (second.number, second.start, second.job_id) == (2, 1, "7")
    assert second.resume_from == "attempts/1/checkpoints/step-00000020"
    assert second.reason == (
        "Its first node was lost, its first process or Ray killed, or it had to make room at once. "
        "Going on from the newest checkpoint."
    )
    assert (state_of(second).state, state_of(second).step) == (RunState.STARTING, 20)


def test_a_start_whose_ray_is_gone_is_followed_where_the_scheduler_does_so(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    first, start = again(run, 0), Start(run, 1, 0)
    save(first, 10)
    with socket.create_server(("127.0.0.1", 0)) as ray:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{ray.getsockname()[1]}")
        assert last_word(start, first).state is RunState.FAILED  # its processes died, not Ray
    said = last_word(start, first)
    assert (said.state, said.phase) == (RunState.QUEUED, "Its Ray cluster died.")
    with monkeypatch.context() as nobody:
        nobody.delenv(STARTS)
        assert "or Ray ended. Go on with: labkit run resume" in last_word(start, first).message
    first.write_status(said)
    second = again(run, 1)
    assert second.reason == "Its Ray cluster died. Going on from the newest checkpoint."


def test_what_lives_on_from_an_earlier_start_is_asked_to_end_and_takes_no_attempt(run):
    first = again(run, 0)
    again(run, 1)
    assert first.stop_file.exists()
    with pytest.raises(LabkitError, match="started by somebody else"):
        run.new_attempt(cluster="slurm", after=first.number)
    old = Start(run, 1, 0)
    assert old.attempt.number == 1
    assert "goes on there" in old.stopped().message
    assert old.stopped().state is RunState.STOPPED


def test_what_waits_to_go_on_says_why_and_the_next_start_repeats_it(run):
    first = again(run, 0)
    worked(first, 0, 600)
    waits = Start(run, 1, 0).stopped()
    assert (waits.state, waits.phase) == (RunState.QUEUED, "Its job had to make room for another.")
    first.write_status(waits)
    assert again(run, 1).reason == (
        "Its job had to make room for another. Beginning anew: there was no checkpoint yet."
    )


def test_a_person_who_stops_it_has_the_last_word(run):
    worked(again(run, 0), 0, 600)
    run.stop_file.touch()
    assert "Stopped on request" in Start(run, 1, 0).stopped().message
    assert state_of(again(run, 1)).state is RunState.STOPPED


def test_where_nobody_starts_it_again_it_is_stopped(run, monkeypatch):
    worked(again(run, 0), 0, 600)
    monkeypatch.delenv(STARTS)
    stopped = Start(run, 1, 0).stopped()
    assert stopped.state is RunState.STOPPED
    assert "Its job was asked to end. Go on with: labkit run resume" in stopped.message


def test_a_run_ends_when_its_time_is_used_up(run):
    first = again(run, 0)
    save(first, 1)
    worked(first, 0, 1800)
    second = again(run, 1)
    save(second, 2)
    worked(second, 5000, 5000 + 1600)
    assert Start(run, 1, 1).left_s() == pytest.approx(200, abs=2)
    assert "Its time of 1 h 00 min is used up" in Start(run, 1, 1).stopped().message
    third = state_of(again(run, 2))
    assert third.state is RunState.STOPPED and "used up" in third.message


def test_one_that_comes_no_further_is_given_up_and_says_so(run):
    first = again(run, 0)
    save(first, 5)
    for number in range(1, MAX_FRUITLESS + 1):
        attempt = again(run, number)
        assert not attempt.has_ended
        save(attempt, 5)  # the same step: saved as it was found
    last = state_of(again(run, MAX_FRUITLESS + 1))
    assert last.state is RunState.FAILED
    assert f"was started {MAX_FRUITLESS} times without leaving a new checkpoint" in last.message
    assert again(run, MAX_FRUITLESS + 2).number == run.last.number  # nothing is tried any more


def test_a_resumed_run_has_all_its_time_again(run):
    worked(again(run, 0), 0, 3600)
    run.new_attempt(cluster="slurm", job_id="8")
    assert Start(run, 2, 0).left_s() == 3600
    assert Start(run, 1, 0).attempt.number == 1


def attempt(number: int, start: int, *steps: int, resume_from: str, folder: Path) -> Attempt:
    made = Attempt(number=number, folder=folder / str(number), start=start, resume_from=resume_from)
    for step in steps:
        save(made, step)
    return made


def test_starts_count_as_fruitless_since_the_last_that_came_further(tmp_path):
    came = attempt(1, 2, 3, resume_from="", folder=tmp_path)
    not_further = attempt(2, 3, 3, resume_from="attempts/1/checkpoints/step-00000003",
                          folder=tmp_path)  # fmt: skip
    assert fruitless_starts([], 0) == 0
    assert fruitless_starts([], 2) == 2
    assert fruitless_starts([came], 3) == 0
    assert fruitless_starts([came, not_further], 5) == 2


def test_time_counts_once_where_a_start_has_several_attempts(tmp_path):
    one, two, three = (
        Attempt(number=number, folder=tmp_path / str(number), start=start)
        for number, start in ((1, 0), (2, 0), (3, 1))
    )
    for each in (one, two, three):
        os.mkdir(each.folder)
    worked(one, 0, 100)
    two.write_status(Status(state=RunState.TRAINING, updated=after_noon(300)))
    worked(three, 1000, 1050)
    assert used_s([one, two, three]) == 350


def test_a_node_that_does_not_see_the_base_model_says_so(site, base):
    flat = {"recipe": "text-classification", "base": base.name, "data": "/d/a.csv"}
    gone = base.model_copy(update={"path": Path("/nowhere/thin")}).model_dump(mode="json")
    run = create_run(site.runs, spec_from_flat(flat, source="test"), {})
    write_json(run.folder / "run.json", {**run.record(), "base": gone})
    worker = Worker(folder=run.folder, attempt=1, stop_file=run.folder / "stop", num_threads=1,
                    accelerator="cpu")  # fmt: skip
    with pytest.raises(LabkitError, match="'thin' is not on .*: no folder /nowhere/thin. Keep"):
        context_of(run, run.new_attempt(cluster="here"), worker, None, print)  # type: ignore[arg-type]


def test_a_worker_that_is_not_the_first_ends_the_run_with_its_own_words(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    """The first may wait for it, and then learn only that it is gone."""

    def fail(*_: object) -> None:
        raise LabkitError("A device ran out of memory.")

    attempt = again(run, 0)
    attempt.write_status(replace(state_of(attempt), state=RunState.TRAINING, step=7))
    monkeypatch.setattr(work_module, "_recipe_steps", fail)
    monkeypatch.setattr(work_module, "_write_output_to", lambda log: None)
    with pytest.raises(LabkitError):
        work(Worker(folder=run.folder, attempt=1, stop_file=run.folder / "stop", num_threads=1,
                    accelerator="cpu", rank=1, size=2))  # fmt: skip
    told = state_of(attempt)
    assert (told.state, told.message) == (RunState.FAILED, "A device ran out of memory.")
    assert told.step == 7
