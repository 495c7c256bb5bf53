"""The scheduler `local`, without a clock or a process: what starts next, what is ended, and why."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labkit.schedulers._local_jobs import Job, Stage
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
from labkit.schedulers.base import (
    JobKind,
    JobResources,
    JobSpec,
    Outcome,
)
from tests.unit.local_lab import GB

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
