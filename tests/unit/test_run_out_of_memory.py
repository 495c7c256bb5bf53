"""A device of several that runs out of memory: all begin again, with less."""

from dataclasses import replace

import pytest

from labkit.errors import OutOfMemory
from labkit.paths import write_json
from labkit.runs import execute
from labkit.runs import work as work_module
from labkit.runs.execute import Group
from labkit.runs.find import create_run
from labkit.runs.folder import Attempt, Run, RunState, Status
from labkit.runs.spec import spec_from_flat
from labkit.runs.work import Worker, context_of, work


@pytest.fixture
def run(site, base) -> Run:
    flat = {"recipe": "text-classification", "base": base.name, "data": "/d/a.csv"}
    run = create_run(site.runs, spec_from_flat(flat, source="test"), {})
    write_json(run.folder / "run.json", {**run.record(), "base": base.model_dump(mode="json")})
    return run


def is_lean(run: Run, attempt: Attempt, worker: Worker) -> bool:
    return context_of(run, attempt, worker, None, print).lean  # type: ignore[arg-type]


def test_all_go_on_from_the_newest_checkpoint_with_less(run: Run, monkeypatch: pytest.MonkeyPatch):
    """What Ray does is played here: it raises what the second worker raises."""
    begun: list[tuple[bool, str]] = []

    def run_out(*_: object) -> None:
        raise OutOfMemory("A device ran out of memory with 4,096 tokens at a time.")

    def fit(group: Group, worker: Worker) -> None:
        attempt = run.attempt(worker.attempt)
        begun.append((is_lean(run, attempt, worker), attempt.resume_from))
        if len(begun) == 1:
            (attempt.folder / "checkpoints" / "step-00000003").mkdir(parents=True)
            work(replace(worker, rank=1, size=2))
        attempt.write_status(Status(state=RunState.DONE))

    monkeypatch.setattr(work_module, "_recipe_steps", run_out)
    monkeypatch.setattr(work_module, "_write_output_to", lambda log: None)
    monkeypatch.setattr(execute, "_fit", fit)
    monkeypatch.setattr(execute, "_answering_nodes", lambda: 2)
    first = run.new_attempt(cluster="slurm", job_id="7")
    worker = Worker(folder=run.folder, attempt=first.number, stop_file=first.stop_file,
                    num_threads=1, accelerator="cpu")  # fmt: skip
    execute._train_together(
        Group(num_nodes=2, num_cpus=1, num_gpus=0, accelerator="cpu"), run, worker
    )
    assert begun == [(False, ""), (True, "attempts/1/checkpoints/step-00000003")]
    assert not first.has_ended
    second = run.last
    assert second.reason == (
        "A device ran out of memory. Going on from the newest checkpoint with less."
    )
    assert second.has_ended
    # Another job may have larger devices.
    assert not is_lean(run, run.new_attempt(cluster="slurm", job_id="8"), worker)
