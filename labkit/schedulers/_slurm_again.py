"""A job of Slurm's that is started again, seen from within it.

Slurm itself does so after the loss of a job's only node and after a preemption, as the job was
submitted with `--requeue`. This is for the rest: a job that asks for it, and one of several
nodes that lost the first. Slurm would let that go on without (`--no-kill`), though what led the
job is gone. So each other node runs its part by `python -P -m labkit.schedulers._slurm_again
COMMAND`, which stays when the command has failed, and looks whether Slurm has given up the first.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from labkit.schedulers._slurm_nodes import values_of
from labkit.schedulers._slurm_view import expand_hosts

TRIES, PAUSE_S, TIMEOUT_S = 5, 5.0, 20.0


def requeue() -> bool:
    """Have Slurm start this job again. False where it has ended, or was started again already.

    A node that was cut off may speak of a job that runs elsewhere by now.
    """
    for _ in range(TRIES):
        try:
            job = _job()
            if not is_this_start(job, os.environ):
                return False
            _scontrol("requeue", job["JobId"])
            return True
        except (OSError, subprocess.SubprocessError) as error:
            print(f"labkit: Slurm did not start the job again: {error}", file=sys.stderr)
            time.sleep(PAUSE_S)
    return False


def is_this_start(job: Mapping[str, str], environment: Mapping[str, str]) -> bool:
    """Whether the job runs, and is what this process is part of: its id outlives its starts."""
    restarts = environment.get("SLURM_RESTART_COUNT", "0")
    return job["JobState"] == "RUNNING" and job["Restarts"] == restarts


def has_lost_its_first(job: Mapping[str, str]) -> bool:
    """Whether the node of the batch script is none of the job's nodes any more."""
    return job["BatchHost"] not in expand_hosts(job["NodeList"])


def main(command: Sequence[str]) -> int:
    # Slurm asks each process of a step. A handler, since to ignore it would be inherited.
    signal.signal(signal.SIGTERM, lambda *_: None)
    code = subprocess.run(command).returncode
    if code > 0:
        _until_the_first_is_lost()
        requeue()
    return abs(code)


def _until_the_first_is_lost() -> None:
    """Or until this process ends with its job."""
    pause_s = min(60.0, PAUSE_S + int(os.environ.get("SLURM_PROCID", "0")))  # not all at once
    while True:
        try:
            job = _job()
            if not is_this_start(job, os.environ) or has_lost_its_first(job):
                return
        except (OSError, subprocess.SubprocessError) as error:
            print(f"labkit: {error}", file=sys.stderr)
        time.sleep(pause_s)


def _job() -> Mapping[str, str]:
    return values_of(_scontrol("--oneliner", "show", "job", os.environ["SLURM_JOB_ID"]))


def _scontrol(*arguments: str) -> str:
    done = subprocess.run(
        ["scontrol", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    if done.returncode:
        raise subprocess.SubprocessError(f"scontrol {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
