"""The first of a Slurm job's processes: takes the job's environment from a file, and becomes it.

Run by the batch script as `python -P -m labkit.schedulers._slurm_job FILE`, as the job's owner.
So no secret is in the script, on a command line or in Slurm's own records, all of which
others may read. The file is gone before the job begins.
"""

import json
import os
import subprocess
import sys
from pathlib import Path


def main(file: str) -> None:
    os.umask(0o077)
    path = Path(file)
    try:
        job = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        sys.exit("labkit: this job was replaced by another before it began.")
    path.unlink()
    environment = environment_of(job["environment"])
    if job.get("in_image"):
        environment |= handed_into_image(environment, job["environment"])
    if others := job.get("others"):
        # A child of what this process becomes, which ends it.
        subprocess.Popen(others, env=environment, stdin=subprocess.DEVNULL)
    os.execvpe(job["argv"][0], job["argv"], environment)


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
