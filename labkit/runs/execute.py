"""`labkit run execute`: the driver of a run, on the head of its private Ray cluster.

It starts the training processes on that cluster, passes a wish to stop on to them, goes on with
the nodes that are left where one is lost, and sees that the attempt's status ends as it did, or
that its job is started again. It never imports torch.
"""

import logging
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labkit.failure import is_disk_full
from labkit.raycluster.network import answers
from labkit.runs.folder import NO_ROOM, Attempt, Run, RunState, Status
from labkit.runs.starts import Start
from labkit.runs.submit import GRACE_S
from labkit.runs.work import Worker, work
from labkit.schedulers.base import AGAIN, STARTS

MAX_DEATHS = 3
"""How often training goes on after the death of a process or a node."""
ANSWER_S = 20
"""How long a node may take to answer before it counts as lost; a process must start for it."""
ROOM_S = 60
"""How long it may take until all devices are free, as of those that a dead process held."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The nodes of a run, and what each of them has."""

    num_nodes: int
    num_cpus: int
    num_gpus: int
    accelerator: str

    @property
    def workers_per_node(self) -> int:
        """One for each GPU; without any, one for all cores."""
        return max(1, self.num_gpus)

    @property
    def num_workers(self) -> int:
        return self.num_nodes * self.workers_per_node

    @property
    def cpus_per_worker(self) -> int:
        return max(1, self.num_cpus // self.workers_per_node)


def execute(group: Group, folder: Path, number: int) -> int:
    """Run attempt `number` of the run in `folder`, or what follows on it in this start of its job.

    0 where it ended as it should, AGAIN where its job is to be started again, NO_ROOM where not
    even that can be written any more.
    """
    try:
        return _execute(group, folder, number)
    except OSError as error:
        if not is_disk_full(error):
            raise
        # Its log lies on that disk, too: what could not be written there goes nowhere.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return NO_ROOM


def _execute(group: Group, folder: Path, number: int) -> int:
    run = Run(folder)
    start = Start(run, number, int(os.environ.get(STARTS, "0")))
    attempt = start.begin()
    _stop_on_sigterm(attempt)
    if not attempt.has_ended:
        if start.number:  # the first is not longer than the run's time
            _stop_in(start.left_s() - GRACE_S, attempt)
        try:
            _train(group, run, attempt)
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        if not start.attempt.has_ended:
            start.attempt.write_status(last_word(start, attempt))
    status = start.attempt.status()
    assert status is not None, "it was written"
    return {RunState.FAILED: 1, RunState.QUEUED: AGAIN}.get(status.state, 0)


def last_word(start: Start, first: Attempt) -> Status:
    """Where training ended without having said how; `first` is the first attempt of the start."""
    if first.stop_file.exists():
        return start.stopped()
    if start.may_follow and not answers(os.environ["RAY_ADDRESS"]):
        return start.broken()
    how = f"Its training process was killed {MAX_DEATHS + 1} times, or Ray ended."
    message = f"{how} Go on with: labkit run resume {start.run.run_id}"
    return Status(state=RunState.FAILED, message=message)


def _train(group: Group, run: Run, attempt: Attempt) -> None:
    import ray

    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level=logging.WARNING)
    _stop_on_sigterm(attempt)  # again: ray.init() puts a handler of its own there
    worker = Worker(
        folder=run.folder,
        attempt=attempt.number,
        stop_file=attempt.stop_file,
        num_threads=group.cpus_per_worker,
        accelerator=group.accelerator,
    )
    if group.num_workers > 1:
        _train_together(group, run, worker)
        return
    # A task's retries count the deaths of its process only: what it raises is not tried again.
    task = ray.remote(num_cpus=group.num_cpus, num_gpus=group.num_gpus, max_retries=MAX_DEATHS)(
        work
    )
    ray.get(task.remote(worker))


def _train_together(group: Group, run: Run, worker: Worker) -> None:
    """Train with a worker for each device; after a death, in a new attempt with those left.

    Each try writes in an attempt of its own, so that one whose node was cut off, and that lives
    on, hurts nothing.
    """
    deaths = 0
    while True:
        attempt = run.attempt(worker.attempt)
        try:
            _fit(group, worker)
            return
        except Exception as error:
            status = attempt.status()
            deaths += 1
            ended = status is not None and status.state.ended
            if ended or deaths > MAX_DEATHS or worker.stop_file.exists():
                raise
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            (attempt.folder / "store").unlink(missing_ok=True)
        group, reason = _with_those_left(group)
        if attempt.out_of_memory_file.exists():
            reason = "A device ran out of memory. Going on from the newest checkpoint with less."
        print(reason, file=sys.stderr)
        attempt = run.new_attempt(
            cluster=attempt.cluster,
            job_id=attempt.job_id,
            resume_from=run.newest_checkpoint(),
            reason=reason,
            start=attempt.start,
            after=attempt.number,
        )
        worker = replace(worker, attempt=attempt.number)


def _with_those_left(group: Group) -> tuple[Group, str]:
    """The group without the nodes that are gone, and what happened in words."""
    left = _answering_nodes()
    if left >= group.num_nodes:
        return group, "A training process died. Going on from the newest checkpoint."
    gone = group.num_nodes - left
    nodes = "A node was" if gone == 1 else f"{gone} nodes were"
    reason = f"{nodes} lost. Going on from the newest checkpoint with {left}."
    return replace(group, num_nodes=left), reason


def _answering_nodes() -> int:
    """How many nodes still run what they are given: Ray itself notices a lost one later."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = [
        ray.remote(num_cpus=0, max_retries=0)(_here)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
        .remote()
        for node in ray.nodes()
        if node["Alive"]
    ]
    answers, _ = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_S)
    return sum(_is_here(answer) for answer in answers)


def _here() -> bool:
    return True


def _is_here(answer: Any) -> bool:
    import ray
    from ray.exceptions import RayError

    try:
        return ray.get(answer)
    except RayError:  # its node was marked dead meanwhile
        return False


def _fit(group: Group, worker: Worker) -> None:
    """Train once, in a process for each device. Raises what the first to fail raises.

    The others are then ended.
    """
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    num_gpus = min(1, group.num_gpus)
    each = {"CPU": float(group.cpus_per_worker), **({"GPU": 1.0} if num_gpus else {})}
    room = placement_group([each] * group.num_workers, strategy="SPREAD")
    task = ray.remote(num_cpus=group.cpus_per_worker, num_gpus=num_gpus, max_retries=0)(work)
    try:
        if not room.wait(ROOM_S):
            raise TimeoutError(f"Its nodes had no room for {group.num_workers} × {each}.")
        running = [
            task.options(
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    room, placement_group_bundle_index=rank
                )
            ).remote(replace(worker, rank=rank, size=group.num_workers))
            for rank in range(group.num_workers)
        ]
        while running:
            ended, running = ray.wait(running, fetch_local=False)
            ray.get(ended)
    finally:
        remove_placement_group(room)  # and whoever is in it


def _stop_on_sigterm(attempt: Attempt) -> None:
    signal.signal(signal.SIGTERM, lambda *_: attempt.stop_file.touch(mode=0o600))


def _stop_in(seconds: float, attempt: Attempt) -> None:
    """When the run's time is used up: in the last of its job's starts maybe before the job's."""
    signal.signal(signal.SIGALRM, lambda *_: attempt.stop_file.touch(mode=0o600))
    signal.setitimer(signal.ITIMER_REAL, seconds)
