"""How the hub hands a session to its scheduler: as itself, or as the person by way of a helper.

`local` has one Unix user for all. On a cluster a session is its person's own job, and the hub
may do one thing in their name: run `labkit-submit`, which reads this request and nothing else.
"""

import asyncio
import getpass
import json
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from labkit.errors import LabkitError
from labkit.schedulers.base import Access, HasSoftware, JobSpec, Pool, Scheduler
from labkit.settings import Profile, Site
from labkit_spawners.options import SessionOptions, parse_options
from labkit_spawners.permission import require_permitted
from labkit_spawners.session_job import FROM_HUB, session_job, unix_home

HELPER = "labkit-submit"
MAX_REQUEST = 400_000
MAX_PEM = 100_000
"""Neither a variable (execve(2)) nor a chain (SSL_CTX_set_max_cert_list(3)) may be much longer."""
_ANSWER_WITHIN_S = 60


FromHub = Annotated[str, StringConstraints(pattern=rf"^{FROM_HUB.pattern}$")]
Value = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=20_000)]


Pem = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/= \n-]*$", max_length=MAX_PEM)]


class Certificates(BaseModel):
    """With what a session speaks TLS with the hub and the proxy."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    key: Pem
    certificate: Pem
    trusted: Pem
    """The certificates of those whom it trusts."""


class SessionRequest(BaseModel):
    """All that the hub may ask in a person's name."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    options: SessionOptions
    server: str = Field(pattern=r"^[a-z0-9-]*$", max_length=255)
    """'' for a person's first server."""
    nonce: str = Field(pattern=r"^[\w-]*$", min_length=16, max_length=64)
    environment: dict[FromHub, Value] = Field(max_length=100)
    """What the hub has to say to the session, its token too."""
    certificates: Certificates | None = None
    """None where there is no TLS between them."""
    check_only: bool = False
    """Only ask the cluster whether it would take the session; nothing is started."""


def as_the_hub(site: Site, cluster: str, person: str) -> bool:
    """Whether that person's sessions there are jobs of the hub's own Unix user."""
    local = site.clusters[cluster].scheduler == "local"
    return local or person == getpass.getuser()


async def submit_session(
    site: Site,
    scheduler: Scheduler,
    person: str,
    request: SessionRequest,
    *,
    as_hub: bool,
    accelerator: str,
) -> str:
    """The id of the job. Raises LabkitError with a sentence for the person."""
    if as_hub:
        return await submit_as_self(site, scheduler, person, request, accelerator)
    return await ask_helper(helper_command(person), request)


def helper_command(person: str) -> list[str]:
    """The one thing that the hub may do as that person. Raises UsageError for none of the name."""
    unix_home(person)  # also so that no name is taken for an option
    helper = Path(sys.executable).parent / HELPER
    return ["sudo", "-n", "-u", person, "--", str(helper)]


@dataclass(frozen=True)
class _Now:
    """What a scheduler says now, to who submits: a few questions, by a person's act."""

    scheduler: Scheduler

    async def access(self, person: str, groups: Collection[str]) -> Access:
        return (await self.scheduler.rights(person))(person, groups)

    async def pools(self) -> Sequence[Pool]:
        return await self.scheduler.capacity()


async def submit_as_self(
    site: Site,
    scheduler: Scheduler,
    person: str,
    request: SessionRequest,
    accelerator: str = "cpu",
) -> str:
    """The id of the job; '' where it was only checked. Raises LabkitError."""
    name, profile = parse_options(request.options.model_dump(), site.profiles)
    await require_permitted(site, _Now(scheduler), person, name, profile)
    job = session_job(
        site,
        profile,
        person=person,
        server=request.server,
        environment=request.environment,
        nonce=request.nonce,
        certificates=request.certificates.model_dump_json() if request.certificates else "",
        accelerator=accelerator,
    )
    if request.check_only:
        await scheduler.expected_start(job)  # raises where it can never start
        await _require_software(site, name, scheduler, job)
        return ""
    return await scheduler.submit(job)


async def _require_software(site: Site, name: str, scheduler: Scheduler, job: JobSpec) -> None:
    """Raises LabkitError with the keys of what the person could not use."""
    if not isinstance(scheduler, HasSoftware):
        return
    cluster = site.cluster(site.profiles[name].cluster)[0]
    owner = f"profiles.{name}" if job.software else f"clusters.{cluster}"
    if wrong := await scheduler.unusable_software(job):
        raise LabkitError(
            " ".join(f"{owner}.software.{key}: {why}" for key, why in wrong)
            + " So it is on this machine; name what all nodes see."
        )


def profile_of(site: Site, request: SessionRequest) -> Profile:
    return parse_options(request.options.model_dump(), site.profiles)[1]


async def ask_helper(command: list[str], request: SessionRequest) -> str:
    """As `submit_as_self`, in another process."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            printed, complained = await process.communicate(request.model_dump_json().encode())
    except TimeoutError:
        raise LabkitError("The session could not be submitted: no answer in time.") from None
    finally:
        if process.returncode is None:
            _end(process)
    return _answer(printed, complained)


def _end(process: asyncio.subprocess.Process) -> None:
    """`sudo` is root's, so it may not be ours to kill: it ends with what it runs."""
    with suppress(ProcessLookupError, PermissionError):
        process.kill()


def _answer(printed: bytes, complained: bytes) -> str:
    try:
        answer = json.loads(printed)
    except ValueError:
        said = complained.decode(errors="replace").strip()[-500:]
        raise LabkitError(
            "The session could not be submitted in your name. Whoever runs this lab finds why "
            f"in the hub's log: {said}"
        ) from None
    if "error" in answer:
        raise LabkitError(answer["error"])
    return answer["job_id"]
