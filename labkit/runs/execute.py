"""`labkit run execute`: the driver of a run, on the head of its private Ray cluster.

It starts the training process as a task of that cluster, passes a wish to stop on to it, and
sees that the attempt's status ends as it did. It never imports torch.
"""

import logging
import os
import signal
import sys
from pathlib import Path

from labkit.runs.folder import Attempt, Run, RunState, Status
from labkit.runs.work import work

MAX_DEATHS = 3
"""How often Ray starts a training process again that was killed."""


def execute(folder: Path, number: int, *, num_cpus: int, num_gpus: int, accelerator: str) -> int:
    """Run attempt `number` of the run in `folder`; 0 where it ended as it should."""
    attempt = Run(folder).attempt(number)
    _stop_on_sigterm(attempt)
    if attempt.stop_file.exists():
        return _end(attempt, RunState.STOPPED, "Stopped before it began.")
    attempt.write_status(Status(state=RunState.STARTING, phase="starting the training process"))
    try:
        _train(attempt, folder, num_cpus=num_cpus, num_gpus=num_gpus, accelerator=accelerator)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    status = attempt.status()
    if status is None or not status.state.ended:
        how = f"Its training process was killed {MAX_DEATHS + 1} times, or Ray ended."
        return _end(attempt, RunState.FAILED, f"{how} Go on with: labkit run resume {folder.name}")
    return 1 if status.state is RunState.FAILED else 0


def _train(
    attempt: Attempt, folder: Path, *, num_cpus: int, num_gpus: int, accelerator: str
) -> None:
    import ray

    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level=logging.WARNING)
    _stop_on_sigterm(attempt)  # again: ray.init() puts a handler of its own there
    # A task's retries count the deaths of its process only: what it raises is not tried again.
    task = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=MAX_DEATHS)(work)
    ray.get(task.remote(folder, attempt.number, num_cpus, accelerator))


def _stop_on_sigterm(attempt: Attempt) -> None:
    signal.signal(signal.SIGTERM, lambda *_: attempt.stop_file.touch(mode=0o600))


def _end(attempt: Attempt, state: RunState, message: str) -> int:
    attempt.write_status(Status(state=state, message=message))
    return 1 if state is RunState.FAILED else 0
