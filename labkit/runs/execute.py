"""`labkit run execute`: the driver of a run, on the head of its private Ray cluster.

It starts the training processes with Ray Train, passes a wish to stop on to them, and sees
that the attempt's status ends as it did. It never imports torch.
"""

import logging
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from labkit.runs.folder import Attempt, Run, RunState, Status
from labkit.runs.work import Worker, work

MAX_DEATHS = 3
"""How often Ray Train starts training processes again that were killed."""


def execute(folder: Path, number: int, *, num_cpus: int, num_gpus: int, accelerator: str) -> int:
    """Run attempt `number` of the run in `folder`; 0 where it ended as it should."""
    attempt = Run(folder).attempt(number)
    _stop_on_sigterm(attempt)
    if attempt.stop_file.exists():
        return _end(attempt, RunState.STOPPED, "Stopped before it began.")
    attempt.write_status(Status(state=RunState.STARTING, phase="starting the training process"))
    try:
        _fit(folder, attempt, num_cpus=num_cpus, num_gpus=num_gpus, accelerator=accelerator)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        shutil.rmtree(attempt.folder / "ray", ignore_errors=True)
    status = attempt.status()
    if status is None or not status.state.ended:
        how = f"Its training process was killed {MAX_DEATHS + 1} times, or Ray ended."
        return _end(attempt, RunState.FAILED, f"{how} Go on with: labkit run resume {folder.name}")
    return 1 if status.state is RunState.FAILED else 0


def _fit(folder: Path, attempt: Attempt, *, num_cpus: int, num_gpus: int, accelerator: str) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level=logging.WARNING)
    _stop_on_sigterm(attempt)  # again: ray.init() puts a handler of its own there
    num_ranks = max(1, num_gpus)
    # One core stays unclaimed by Ray's book-keeping only: threads, not Ray, share the cores.
    each: dict[str, float] = {"CPU": max(1, num_cpus // num_ranks), "GPU": min(1, num_gpus)}
    trainer = DataParallelTrainer(
        _ray_worker,
        train_loop_config={
            "folder": str(folder),
            "number": attempt.number,
            "num_threads": max(1, num_cpus // num_ranks),
            "accelerator": accelerator,
        },
        scaling_config=ScalingConfig(
            num_workers=num_ranks, use_gpu=num_gpus > 0, resources_per_worker=each
        ),
        run_config=RunConfig(
            name="train",
            storage_path=str(attempt.folder / "ray"),
            failure_config=FailureConfig(max_failures=MAX_DEATHS),
        ),
    )
    trainer.fit()


def _stop_on_sigterm(attempt: Attempt) -> None:
    signal.signal(signal.SIGTERM, lambda *_: attempt.stop_file.touch(mode=0o600))


def _ray_worker(config: dict[str, Any]) -> None:
    """Runs in every Ray Train worker."""
    from ray.train import get_context

    context = get_context()
    worker = Worker(
        rank=context.get_world_rank(),
        num_ranks=context.get_world_size(),
        num_threads=config["num_threads"],
        accelerator=config["accelerator"],
    )
    work(Path(config["folder"]), config["number"], worker)


def _end(attempt: Attempt, state: RunState, message: str) -> int:
    attempt.write_status(Status(state=state, message=message))
    return 1 if state is RunState.FAILED else 0
