"""What a session asks the hub about itself: how long it still has; more time; its end.

Each is asked with the session's own token and names no job, so there is none but its own to
ask about. The scheduler is not asked: the answer is that which all sessions share.
"""

import asyncio
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from jupyterhub.apihandlers import default_handlers
from tornado import web

from labkit.errors import LabkitError
from labkit.schedulers.base import JobInfo, JobState
from labkit.settings import Profile
from labkit_spawners.options import parse_options
from labkit_spawners.own_token import SessionHandler, spawner_of_token
from labkit_spawners.permission import groups_now, limits_of
from labkit_spawners.time_left import Extension, TimeLeft, extension, longest_s, time_left

SESSION = "/api/labkit/session"
EXTEND, GIVE_BACK = f"{SESSION}/extend", f"{SESSION}/give-back"


class _Handler(SessionHandler):
    def spawner(self) -> Any:
        """The one that asks. Answers 403 where there is none, 400 where it says anything."""
        spawner = spawner_of_token(self)
        if spawner is None:
            raise web.HTTPError(403, "A session is told of itself alone, by its own token.")
        if self.request.body not in (b"", b"null", b"{}"):
            raise web.HTTPError(400, "There is nothing to say: the body must be empty.")
        return spawner

    async def session(self) -> tuple[Any, JobInfo]:
        """The spawner that asks, and its job. Answers 503 where the job is not known to run."""
        spawner = self.spawner()
        job = await spawner.job_now()
        if job is None or job.state is not JobState.RUNNING:
            raise web.HTTPError(503, "The scheduler says nothing of this session now.")
        return spawner, job


class SessionNow(_Handler):
    async def get(self) -> None:
        spawner, job = await self.session()
        self.finish(as_json(await now_of(spawner, job)))


class Extend(_Handler):
    async def post(self) -> None:
        spawner, job = await self.session()
        asked = await extension_of(spawner, job)
        if not asked.seconds:
            raise web.HTTPError(409, f"This session cannot be extended. {asked.why_not}")
        watch = spawner.lab.watch(spawner.record.cluster)
        try:
            await watch.scheduler.extend(job.job_id, asked.walltime_s)
        except LabkitError as error:
            self.log.warning("Job %s could not be extended: %s", job.job_id, error)
            raise web.HTTPError(409, "The scheduler did not extend this session.") from error
        watch.outdate()
        assert job.started
        job = replace(job, deadline=job.started + timedelta(seconds=asked.walltime_s))
        self.log.info("Extended %s: %d s in all", spawner._log_name, asked.walltime_s)
        self.finish(as_json(await now_of(spawner, job)))


class GiveBack(_Handler):
    _ending: asyncio.Future[Any] | None = None

    async def post(self) -> None:
        spawner = self.spawner()
        if spawner.pending:
            raise web.HTTPError(403, "Only a session that runs may end itself.")
        self._spawner = spawner
        self.set_status(202)

    def on_finish(self) -> None:
        """Not before the session has its answer: it would end with nobody having been told."""
        if self.get_status() == 202:
            stop = self.stop_single_user(self._spawner.user, self._spawner.name)
            self._ending = asyncio.ensure_future(stop)
        super().on_finish()


async def now_of(spawner: Any, job: JobInfo) -> TimeLeft:
    profile = profile_of(spawner)
    title = profile.title if profile else spawner.record.profile
    device = profile.device if profile else ""
    asked = await extension_of(spawner, job)
    return time_left(title, device, job, asked, datetime.now(UTC))


def profile_of(spawner: Any) -> Profile | None:
    """With what was asked by hand; None where the lab has that profile no more."""
    try:
        return parse_options(spawner.record.options, spawner.lab.site.profiles)[1]
    except LabkitError:
        return None


async def extension_of(spawner: Any, job: JobInfo) -> Extension:
    """By how much it may be extended, by its profile, its partition and its person's limits."""
    profile, site = profile_of(spawner), spawner.lab.site
    if profile is None:
        return Extension(seconds=0, walltime_s=0, why_not="This lab has its profile no more.")
    try:
        pools = await spawner.lab.watch(spawner.record.cluster).pools() if profile.extend else []
        groups = await groups_now(spawner.user.name) if profile.extend else frozenset()
    except LabkitError:
        return Extension(seconds=0, walltime_s=0, why_not="The cluster does not answer now.")
    limit = limits_of(site, groups)[1].time
    return extension(profile, job, longest_s(profile, pools, limit))


def as_json(answer: TimeLeft) -> str:
    return json.dumps(asdict(answer))


def mount() -> None:
    """Put ours among the hub's handlers, once."""
    ours = [(SESSION, SessionNow), (EXTEND, Extend), (GIVE_BACK, GiveBack)]
    paths = [path for path, _ in ours]
    default_handlers[:] = [each for each in default_handlers if each[0] not in paths] + ours
