"""The job of a session: the launcher, its environment, its home."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from labkit.paths import PERSON, of_person, private_folder
from labkit.schedulers.base import JobKind, JobResources, JobSpec
from labkit.settings import BUILT_IN, Profile, Site
from labkit_spawners.templates import templates_folder

NONCE = "LABKIT_SESSION_NONCE"
START_NOTEBOOK = "Start here.ipynb"
_FROM_HUB = ("JUPYTERHUB_", "JPY_")


def session_job(
    site: Site,
    profile: Profile,
    *,
    person: str,
    environment: Mapping[str, str],
    nonce: str,
    log: Path,
    accelerator: str = "cpu",
) -> JobSpec:
    """Nothing of it is text of the person's but their name, which is a value, never a command."""
    home = home_of(site, person)
    private_folder(log.parent)
    return JobSpec(
        name="labkit-session",
        kind=JobKind.SESSION,
        # -P: a file of the person's that is called json.py is not Python's json.
        argv=[sys.executable, "-P", "-m", "labkit_spawners.launcher"],
        folder=home,
        log=log,
        resources=JobResources(
            num_cpus=profile.cores,
            memory_bytes=profile.memory,
            num_gpus=profile.gpus,
            accelerator=accelerator,
        ),
        walltime_s=profile.time,
        environment=session_environment(site, person, home, environment, nonce),
        grace_s=10,
    )


def session_environment(
    site: Site, person: str, home: Path, from_hub: Mapping[str, str], nonce: str
) -> dict[str, str]:
    """What the site's jobs find, the person's own, and what the hub has to say."""
    jobs = site.job_environment()
    own = {
        "HOME": str(home),
        "USER": person,
        "LOGNAME": person,
        "PATH": f"{Path(sys.executable).parent}:{jobs['PATH']}",
        "SHELL": os.environ.get("SHELL", "/bin/sh"),
        "JUPYTER_CONFIG_PATH": str(templates_folder() / "session"),
        NONCE: nonce,
    }
    if site.settings != BUILT_IN:
        own["LABKIT_SITE"] = site.settings
    hub = {key: value for key, value in from_hub.items() if key.startswith(_FROM_HUB)}
    return {**jobs, **own, **hub}


def home_of(site: Site, person: str) -> Path:
    """The person's home, made where the site keeps homes, with the notebook to start from."""
    homes = site.hub.homes
    home = Path.home() if homes is None else private_folder(of_person(homes / PERSON, person))
    notebook = home / START_NOTEBOOK
    if not notebook.exists():
        shutil.copyfile(templates_folder() / "notebooks" / START_NOTEBOOK, notebook)
        notebook.chmod(0o600)
    return home
