"""In what a job of Slurm's runs: modules, another Python, an Apptainer image. Pure.

All of it is the site's own text, of settings that are checked; nothing is a person's.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from labkit.schedulers.base import JobKind, JobSpec
from labkit.settings import Software


def module_lines(software: Software) -> list[str]:
    """Lines for the batch script. A module that cannot be loaded ends the job, and says so."""
    return [
        f"module load {shlex.quote(name)} || "
        f"{{ echo 'labkit: the module {name} could not be loaded.' >&2; exit 1; }}"
        for name in software.modules
    ]


def command(software: Software, job: JobSpec) -> list[str]:
    """The job's argument list. Only sessions have another Python, or run in an image.

    Nothing of the job's environment is in it: that may hold secrets, and command lines are
    public. See `_slurm_job` for how it gets into the image.
    """
    if job.kind is not JobKind.SESSION:
        return list(job.argv)
    python = str(software.python) if software.python else "python3"
    if software.image is None:
        return [python if software.python else job.argv[0], *job.argv[1:]]
    nv = ["--nv"] if job.resources.accelerator == "nvidia" else []
    rocm = ["--rocm"] if job.resources.accelerator == "amd" else []
    return [
        *(str(software.apptainer), "exec", "--cleanenv", *nv, *rocm),
        *(f"--bind={path}" for path in _bound(software, job)),
        f"--pwd={job.folder}",
        str(software.image),
        *(python, *job.argv[1:]),
    ]


def _bound(software: Software, job: JobSpec) -> Sequence[str]:
    """What is seen within: the site's folders, the person's home, what the session reads."""
    reads = [Path(job.environment[key]) for key in _READ if job.environment.get(key)]
    own = [str(job.folder), *(f"{path}:{path}:ro" for path in reads)]
    return list(dict.fromkeys([*map(str, software.bind), *own]))


_READ = ("JUPYTER_CONFIG_PATH", "LABKIT_SITE")
"""Variables that name a file or folder of the site's."""


def in_image(software: Software, job: JobSpec) -> bool:
    return software.image is not None and job.kind is JobKind.SESSION
