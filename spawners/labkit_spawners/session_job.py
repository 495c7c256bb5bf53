"""The job of a session: the launcher, its environment, its home.

Made by the process that submits it: the hub where all jobs are its own user's, else the
helper that acts as the person (`submit_helper`).
"""

import os
import pwd
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from labkit.errors import UsageError
from labkit.paths import PERSON, of_person, private_folder
from labkit.schedulers.base import JobKind, JobResources, JobSpec
from labkit.settings import BUILT_IN, Profile, Site
from labkit_spawners.ask_hub import CERTIFICATES
from labkit_spawners.tags import tag_of
from labkit_spawners.templates import templates_folder

NONCE = "LABKIT_SESSION_NONCE"
FROM_HUB = re.compile(r"(JUPYTERHUB|JPY)_[A-Z0-9_]+")
"""The variables that the hub may hand to a session."""
_FIRST_SERVER = "_"
"""No named server is called so: their names are of [a-z0-9-] since JupyterHub 6."""


def session_job(
    site: Site,
    profile: Profile,
    *,
    person: str,
    server: str,
    environment: Mapping[str, str],
    nonce: str,
    certificates: str = "",
    accelerator: str = "cpu",
) -> JobSpec:
    """Nothing of it is text of the person's but their name, which is a value, never a command."""
    home = home_of(site, person)
    log = session_log(home, server)
    private_folder(log.parent)
    return JobSpec(
        name="labkit-session",
        kind=JobKind.SESSION,
        # -P: a file of the person's that is called json.py is not Python's json.
        argv=[sys.executable, "-P", "-m", "labkit_spawners.launcher"],
        folder=home,
        log=log,
        resources=resources_of(profile, accelerator),
        walltime_s=profile.time,
        environment=session_environment(site, person, home, environment, nonce)
        | ({CERTIFICATES: certificates} if certificates else {}),
        grace_s=10,
        tag=tag_of(nonce),
        partition=profile.partition,
        account=profile.account,
        reservation=profile.reservation,
        software=profile.software,
    )


def resources_of(profile: Profile, accelerator: str = "cpu") -> JobResources:
    return JobResources(
        num_cpus=profile.cores,
        memory_bytes=profile.memory,
        num_gpus=profile.gpus,
        accelerator=accelerator,
        device=profile.device,
        num_nodes=profile.nodes,
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
    hub = {key: value for key, value in from_hub.items() if FROM_HUB.fullmatch(key)}
    return {**jobs, **own, **hub}


def home_of(site: Site, person: str) -> Path:
    """The person's home, made where the site keeps homes; else that of who submits."""
    homes = site.hub.homes
    return Path.home() if homes is None else private_folder(of_person(homes / PERSON, person))


def unix_home(person: str) -> Path:
    """The home of that Unix user. Raises UsageError where there is none of that name."""
    try:
        return Path(pwd.getpwnam(person).pw_dir)
    except (KeyError, ValueError):  # the latter for a NUL in it
        raise UsageError(
            f"This cluster has no user {person!r}. Ask whoever runs it for an account."
        ) from None


def session_log(home: Path, server: str) -> Path:
    """Where the session's output goes."""
    return home / ".labkit" / "sessions" / f"{server or _FIRST_SERVER}.log"
