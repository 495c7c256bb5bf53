"""The first of a Slurm job's processes: takes the job's environment from a file, and becomes it.

Run by the batch script as `python -P -m labkit.schedulers._slurm_job FILE`, as the job's owner.
So no secret is in the script, on a command line or in Slurm's own records, all of which
others may read. The file is gone before the job begins; that of a job that may be started again
is gone once it has ended for good.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from labkit.schedulers._slurm_again import requeue
from labkit.schedulers.base import AGAIN, STARTS


def main(file: str) -> None:
    os.umask(0o077)
    path = Path(file)
    try:
        job = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        sys.exit("labkit: this job was replaced by another, or has ended, before it began.")
    own = job["environment"]
    if until := job.get("restart_until"):
        own[STARTS] = os.environ.get("SLURM_RESTART_COUNT", "0")
        if child := os.fork():
            sys.exit(_see_it_through(child, path, Path(until)))
    else:
        path.unlink()
    environment = environment_of(own)
    if job.get("in_image"):
        environment |= handed_into_image(environment, own)
    if others := job.get("others"):
        # A child of what this process becomes, which ends it.
        subprocess.Popen(others, env=environment, stdin=subprocess.DEVNULL)
    os.execvpe(job["argv"][0], job["argv"], environment)


def _see_it_through(child: int, path: Path, until: Path) -> int:
    """Wait for the job's end, and have Slurm start it again where it wants so. Its exit code."""
    # Slurm warns the first process alone.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    _, status = os.waitpid(child, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    code = os.waitstatus_to_exitcode(status)
    code = code if code >= 0 else 128 - code
    # Asked to end before there was anything to save is no end, nor is to be killed.
    no_end = (AGAIN, 128 + signal.SIGTERM, 128 + signal.SIGKILL)
    wants_again = code in no_end and not until.exists()
    if not (wants_again and requeue()):
        path.unlink(missing_ok=True)
    return code


def environment_of(own: dict[str, str]) -> dict[str, str]:
    """The job's own variables over those of Slurm and of the site's prologue."""
    path = dict.fromkeys([*own.get("PATH", "").split(":"), *os.get_exec_path()])
    return {**os.environ, **own, "PATH": ":".join(part for part in path if part)}


def handed_into_image(all_of_it: dict[str, str], own: dict[str, str]) -> dict[str, str]:
    """What `apptainer exec --cleanenv` sets within: the job's own, its devices, Slurm's words.

    https://apptainer.org/docs/user/main/environment_and_metadata.html. Not the PATH,
    since the image has its own, nor HOME, which Apptainer sets itself.
    """
    handed = {
        key: value
        for key, value in all_of_it.items()
        if key in own or key.startswith("SLURM_") or key.endswith("_VISIBLE_DEVICES")
        if key not in ("PATH", "HOME")
    }
    return {f"APPTAINERENV_{key}": value for key, value in handed.items()}


if __name__ == "__main__":
    main(sys.argv[1])
